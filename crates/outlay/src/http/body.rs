//! JSON in: a body is split into its members, each still raw text, and each member is read by what it must be.
//!
//! All that is wrong is gathered with its pointer before anything is answered. Numbers are read from their own text, so
//! money never passes through a float. What the members mean is in [`ask`], [`operation`] and the resources.

pub(super) mod ask;
pub(super) mod metadata;
pub(super) mod operation;
mod split;

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use outlay_core::id::TextError;
use outlay_core::money::DecimalError;
use outlay_core::month::Timestamp;

pub(super) use self::split::MEMBERS_MAX;
use self::split::Member;
use super::auth::asked;
use super::problem::{FieldError, Kind, Problem};

/// What a body says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/json`
    Json,
    /// `application/cloudevents+json`
    CloudEvent,
    /// `application/cloudevents-batch+json`
    CloudEventBatch,
}

/// Reads `Content-Type` and `Content-Encoding`. Without a body there need be no type.
///
/// # Errors
/// `UnsupportedMediaType` when it is none of the three, or is compressed.
pub(super) fn media_type(headers: &HeaderMap, body: &[u8]) -> Result<MediaType, Problem> {
    let refused = |detail| Err(Problem::new(Kind::UnsupportedMediaType).detail(detail));
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("Bodies are read uncompressed only.");
    }
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return if body.is_empty() { Ok(MediaType::Json) } else { refused("Send `Content-Type: application/json`.") };
    };
    let mut parts = given.to_str().unwrap_or_default().split(';');
    let essence = parts.next().unwrap_or_default().trim();
    let utf8 = parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
    });
    if !utf8 {
        return refused("JSON is read as UTF-8 only.");
    }
    let known = [
        ("application/json", MediaType::Json),
        ("application/cloudevents+json", MediaType::CloudEvent),
        ("application/cloudevents-batch+json", MediaType::CloudEventBatch),
    ];
    match known.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)) {
        Some((_, media_type)) => Ok(media_type),
        None => refused("Send `Content-Type: application/json`."),
    }
}

/// Objects and arrays within each other in a body, at most: those of metadata, and the array, event and operation around it.
const NESTED_MAX: usize = metadata::NESTED_MAX + 4;

/// The body of a request as text.
///
/// # Errors
/// `InvalidBody` when it is no UTF-8, or nested deeper than any body needs.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::field("", "must be JSON in UTF-8"))?;
    if is_nested_deeper(text, NESTED_MAX) {
        return Err(Problem::field("", "must not be nested so deeply"));
    }
    Ok(text)
}

/// Whether objects and arrays lie deeper within each other; of what is no JSON it says anything.
fn is_nested_deeper(text: &str, max: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(inside) = bytes.next().filter(|inside| *inside != b'"') {
                    if inside == b'\\' {
                        bytes.next();
                    }
                }
            }
            b'{' | b'[' if depth == max => return true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// A body of `application/json`.
#[derive(Debug)]
pub(super) struct JsonBody(Bytes);

impl<S: Sync> FromRequestParts<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let body = &asked(parts)?.body;
        match media_type(&parts.headers, body)? {
            MediaType::Json => Ok(Self(body.clone())),
            MediaType::CloudEvent | MediaType::CloudEventBatch => Err(Problem::new(Kind::UnsupportedMediaType)
                .detail("CloudEvents are read at `/v1/usage` only; send `Content-Type: application/json`.")),
        }
    }
}

impl JsonBody {
    /// The object that the body is.
    pub(super) fn object(&self) -> Result<Object<'_>, Problem> {
        Object::of_body(utf8(&self.0)?)
    }

    /// The same; an empty body is an empty object, and so is `null`, as it is in the place of a member.
    pub(super) fn object_or_empty(&self) -> Result<Object<'_>, Problem> {
        let is_null = self.0.trim_ascii() == b"null";
        if self.0.is_empty() || is_null { Object::of_body("{}") } else { self.object() }
    }
}

/// The items of an array, each still raw text.
///
/// # Errors
/// When it is no array of 1 to `max` items.
pub(super) fn items(text: &str, max: usize) -> Result<Vec<&str>, Problem> {
    split::items(text, max).map_err(|detail| Problem::field("", detail))
}

/// An object that is being read: each `optional` or `required` takes a member out, [`Object::finish`] refuses the rest.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pointer: String,
    members: Vec<Member<'a>>,
    errors: Vec<FieldError>,
    too_large: bool,
}

impl<'a> Object<'a> {
    /// The object that a whole body, or one item of a batch, is.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(super) fn of_body(text: &'a str) -> Result<Self, Problem> {
        Self::at(String::new(), text).map_err(|error| Problem::new(Kind::InvalidBody).errors(vec![error]))
    }

    fn at(pointer: String, text: &'a str) -> Result<Self, FieldError> {
        let mut object = Self { pointer, members: Vec::new(), errors: Vec::new(), too_large: false };
        match split::members(text) {
            Ok(split) => {
                object.members = split.members;
                for name in split.repeated {
                    object.wrong(&name, "must be given once");
                }
                Ok(object)
            }
            Err(detail) => Err(FieldError::new(object.pointer, detail)),
        }
    }

    /// Takes a member out, `null` included.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<&'a str> {
        let index = self.members.iter().position(|member| member.name == name)?;
        Some(self.members.swap_remove(index).raw)
    }

    /// Takes a member out; `null` is as if it were absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        self.take_raw(name).filter(|raw| *raw != "null")
    }

    /// A member that may be absent or `null`.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let raw = self.take(name)?;
        read(raw).map_err(|error| self.wrong(name, error.to_string())).ok()
    }

    /// A member that must be there; `None` when it is not, or is wrong, which is noted.
    pub(super) fn required<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let raw = self.take(name);
        if raw.is_none() {
            self.wrong(name, "is required");
        }
        read(raw?).map_err(|error| self.wrong(name, error.to_string())).ok()
    }

    /// Whether a member is neither given nor taken yet; `null` is given.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        !self.members.iter().any(|member| member.name == name)
    }

    /// Whether a member is missing, or `null`.
    pub(super) fn is_absent(&self, name: &str) -> bool {
        !self.members.iter().any(|member| member.name == name && member.raw != "null")
    }

    /// A member that must be there and is an object; `None` when it is not, or is wrong, which is noted.
    pub(super) fn required_object<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Object<'a>) -> Option<T>,
    ) -> Option<T> {
        if self.is_absent(name) {
            self.wrong(name, "is required");
        }
        self.object(name, read)
    }

    /// A member that is an object, and may be absent; `None` also when it is wrong, which is noted.
    pub(super) fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Object<'a>) -> Option<T>) -> Option<T> {
        let raw = self.take(name)?;
        self.within(self.pointer_to(name), raw, read)
    }

    /// A member that is a list of objects, 1 to `max`, and may be absent; `None` also when one is wrong.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        max: usize,
        mut read: impl FnMut(&mut Object<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let raw = self.take(name)?;
        match split::items(raw, max) {
            Ok(items) => {
                let pointer = self.pointer_to(name);
                let read = items
                    .into_iter()
                    .enumerate()
                    .map(|(index, raw)| self.within(format!("{pointer}/{index}"), raw, &mut read));
                // Each is read, so that what is wrong with a later one is told too.
                read.collect::<Vec<_>>().into_iter().collect()
            }
            Err(detail) => {
                self.wrong(name, detail);
                None
            }
        }
    }

    /// The members that are left, with any name.
    pub(super) fn rest(&mut self) -> Vec<(Cow<'a, str>, &'a str)> {
        std::mem::take(&mut self.members).into_iter().map(|member| (member.name, member.raw)).collect()
    }

    fn within<T>(
        &mut self,
        pointer: String,
        raw: &'a str,
        read: impl FnOnce(&mut Object<'a>) -> Option<T>,
    ) -> Option<T> {
        match Self::at(pointer, raw) {
            Ok(mut object) => {
                let value = read(&mut object);
                object.refuse_rest();
                self.too_large |= object.too_large;
                self.errors.append(&mut object.errors);
                value
            }
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Notes that a member is wrong.
    pub(super) fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(self.pointer_to(name), detail));
    }

    /// Notes that a member is sound, but too large to be kept.
    pub(super) fn too_large(&mut self, name: &str, detail: impl Into<String>) {
        self.too_large = true;
        self.wrong(name, detail);
    }

    /// Gives what was read.
    ///
    /// # Errors
    /// `InvalidBody` that names everything wrong, members that nobody took among it; `PayloadTooLarge` when size was all.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<T, Problem> {
        self.refuse_rest();
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                let kind =
                    if self.too_large && self.errors.len() == 1 { Kind::PayloadTooLarge } else { Kind::InvalidBody };
                Err(Problem::new(kind).errors(self.errors))
            }
        }
    }

    fn refuse_rest(&mut self) {
        for (name, _) in self.rest() {
            self.wrong(&name, "is not a field of this");
        }
    }

    fn pointer_to(&self, name: &str) -> String {
        // A name of the sender's making may be as long as the body.
        let name: Cow<'_, str> =
            if name.len() > 128 { name.chars().take(128).collect::<String>().into() } else { name.into() };
        let mut pointer = String::with_capacity(self.pointer.len() + name.len() + 1);
        pointer.push_str(&self.pointer);
        pointer.push('/');
        if name.contains(['~', '/']) {
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        } else {
            pointer.push_str(&name);
        }
        pointer
    }
}

/// Reads a string and what it means, like `text(Name::new)`.
pub(super) fn text<T>(make: impl Fn(&str) -> Result<T, TextError>) -> impl Fn(&str) -> Result<T, String> {
    move |raw| make(&string(raw)?).map_err(|error| error.to_string())
}

/// Reads one of a few words.
pub(super) fn word<T>(find: impl Fn(&str) -> Option<T>, words: &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |raw| string(raw).ok().and_then(|text| find(&text)).ok_or_else(|| format!("must be {words}"))
}

/// Reads a decimal: a number, or a string that holds the same.
pub(super) fn decimal<T>(parse: impl Fn(&str) -> Result<T, DecimalError>) -> impl Fn(&str) -> Result<T, String> {
    move |raw| {
        let text = if raw.starts_with('"') { string(raw)? } else { Cow::Borrowed(raw) };
        parse(&text).map_err(|error| error.to_string())
    }
}

/// Reads a number that is whole, however it is written: clients that know only floats write `1.0` or `1e2`.
pub(super) fn whole(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<i64, String> {
    move |raw| {
        whole_number(raw)
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Characters of a whole number, at most; more would only cost time.
const WHOLE_CHARACTERS_MAX: usize = 400;

/// The value of a JSON number that is whole.
fn whole_number(raw: &str) -> Option<i64> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) || raw.len() > WHOLE_CHARACTERS_MAX {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return raw.parse().ok();
    }
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let zeros_cut = digits.trim_end_matches('0');
    if zeros_cut.is_empty() || zeros_cut == "-" {
        return Some(0);
    }
    let exponent = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let zeros = exponent.checked_add(i64::try_from(digits.len() - zeros_cut.len()).ok()?)?;
    let power = 10_i64.checked_pow(u32::try_from(zeros).ok()?)?;
    zeros_cut.parse::<i64>().ok()?.checked_mul(power)
}

/// Reads `true` or `false`.
pub(super) fn flag(raw: &str) -> Result<bool, &'static str> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    }
}

/// Reads an RFC 3339 time.
pub(super) fn time(raw: &str) -> Result<Timestamp, String> {
    Timestamp::parse(&string(raw)?).map_err(|error| error.to_string())
}

/// Reads a string as it is.
pub(super) fn string(raw: &str) -> Result<Cow<'_, str>, String> {
    let inside = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or("must be a string")?;
    if !inside.contains('\\') {
        return Ok(Cow::Borrowed(inside));
    }
    // Only here can it still be wrong: half of a surrogate pair.
    serde_json::from_str(raw).map(Cow::Owned).map_err(|_| "must be Unicode text".to_owned())
}

#[cfg(test)]
mod tests;
