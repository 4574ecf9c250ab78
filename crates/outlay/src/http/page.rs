//! Query strings and the pages of lists: parameters are read strictly, and cursors are opaque.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::SharedApp;
use super::problem::{FieldError, Kind, Problem};
use crate::store::PageOf;

/// Items of a page when nothing is said.
const LIMIT_DEFAULT: usize = 50;
/// Items of a page, at most.
pub(super) const LIMIT_MAX: usize = 1_000;

/// The query string, to be taken apart parameter by parameter.
///
/// Take what the route knows, then call [`Parameters::finish`]: it refuses what was wrong, was given twice, or is left,
/// all at once. So a filter that is mistyped is an error, and never a longer list.
#[derive(Debug, Default)]
pub struct Parameters {
    given: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Parameters {
    /// Reads a query string, without its `?`.
    pub fn parse(query: &str) -> Self {
        let mut parameters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decoded(name), decoded(value)) {
                (Some(name), Some(value)) => {
                    if parameters.given.iter().any(|(other, _)| *other == name) {
                        parameters.wrong(&name, "must be given once");
                    } else {
                        parameters.given.push((name, value));
                    }
                }
                (name, _) => parameters.wrong(&name.unwrap_or_default(), "must be UTF-8, percent-encoded"),
            }
        }
        parameters
    }

    /// The parameter as it was given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(index).1)
    }

    /// Forgets parameters without a value: that is how a form says that nothing was chosen.
    pub fn drop_empty(&mut self) {
        self.given.retain(|(_, value)| !value.is_empty());
    }

    /// The parameter as `read` understands it; what it says otherwise, like `must be a month`, becomes an error.
    pub fn read<T, E: std::fmt::Display>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.take(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }

    /// A whole number within a range.
    pub fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        self.read(name, |text| {
            let digits = !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|number| digits && range.contains(number))
                .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
        })
        .unwrap_or(default)
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
        .unwrap_or(default)
    }

    /// The `limit` of a list.
    pub fn limit(&mut self) -> usize {
        let limit = self.number("limit", 1..=LIMIT_MAX as u64, LIMIT_DEFAULT as u64);
        usize::try_from(limit).unwrap_or(LIMIT_DEFAULT)
    }

    /// The `limit` and `cursor` of a list whose cursors are numbers; `list` is the list's own tag.
    pub fn page(&mut self, app: &SharedApp, list: &str) -> PageOf {
        let before = self.read("cursor", |text| {
            let number = app.open_cursor(list, text)?;
            <[u8; 8]>::try_from(number.as_slice()).map(u64::from_le_bytes).map_err(|_| CursorError)
        });
        PageOf { before, limit: self.limit() }
    }

    /// Notes that a parameter is wrong.
    pub fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("/{}", name.replace('~', "~0").replace('/', "~1")), detail));
    }

    /// Refuses what was wrong or is unknown.
    ///
    /// # Errors
    /// A 400 that names every such parameter.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.given) {
            self.wrong(&name, "is not a parameter of this route");
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::InvalidParameter).errors(self.errors))
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// As forms are encoded: `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A cursor that this server did not give for this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a nextCursor that this list gave")]
pub struct CursorError;

/// The first byte of a cursor, so that its form can change.
const CURSOR_VERSION: u8 = 2;
/// Bytes of the checksum at the end of a cursor.
const CHECK_BYTES: usize = 6;

/// Characters of a cursor, at most: the longest names a user, whose characters take four bytes each, beside a key of 16.
pub(super) const CURSOR_CHARACTERS_MAX: usize =
    (1 + 16 + 4 * outlay_core::id::UserId::CHARACTERS_MAX + CHECK_BYTES).div_ceil(3) * 4;

/// Makes an opaque cursor; only the same list of the same store takes it back.
pub fn seal_cursor(deployment_id: u128, list: &str, place: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(1 + place.len() + CHECK_BYTES);
    let check = check_of(deployment_id, list, place);
    bytes.push(CURSOR_VERSION);
    bytes.extend_from_slice(place);
    mask(deployment_id, list, check, bytes.split_at_mut(1).1);
    bytes.extend_from_slice(&check);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Takes a cursor back.
///
/// # Errors
/// When it is garbled, of another version, list or store.
pub fn open_cursor(deployment_id: u128, list: &str, text: &str) -> Result<Vec<u8>, CursorError> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
    let place_end = bytes.len().checked_sub(CHECK_BYTES).ok_or(CursorError)?;
    let check = bytes.split_off(place_end);
    if bytes.first() != Some(&CURSOR_VERSION) {
        return Err(CursorError);
    }
    let mut place = bytes.split_off(1);
    let check: [u8; CHECK_BYTES] = check.try_into().map_err(|_| CursorError)?;
    mask(deployment_id, list, check, &mut place);
    if check != check_of(deployment_id, list, &place) {
        return Err(CursorError);
    }
    Ok(place)
}

/// Masks a place, or takes the mask away: numbers of rows say how much everybody does, and a user's own cursors lie in a
/// browser. What tells the store apart is known to nobody else.
fn mask(deployment_id: u128, list: &str, check: [u8; CHECK_BYTES], place: &mut [u8]) {
    for (block, bytes) in (0_u64..).zip(place.chunks_mut(32)) {
        let mut hash = Sha256::new_with_prefix("outlay-cursor-mask");
        hash.update(deployment_id.to_le_bytes());
        hash.update(check);
        hash.update(block.to_le_bytes());
        hash.update(list);
        for (byte, mask) in bytes.iter_mut().zip(hash.finalize()) {
            *byte ^= mask;
        }
    }
}

fn check_of(deployment_id: u128, list: &str, place: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = Xxh3::new();
    hash.update(&deployment_id.to_le_bytes());
    hash.update(list.as_bytes());
    hash.update(&[0]);
    hash.update(place);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(hash.digest().to_le_bytes().split_at(CHECK_BYTES).0);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_taken_back_by_its_own_list_and_store_alone() {
        let text = seal_cursor(7, "usage", &42_u64.to_le_bytes());
        assert_eq!(open_cursor(7, "usage", &text).unwrap(), 42_u64.to_le_bytes());
        assert_eq!(open_cursor(8, "usage", &text), Err(CursorError));
        assert_eq!(open_cursor(7, "sessions", &text), Err(CursorError));
        for index in 0..text.len() {
            for other in ["A", "B", "-", "", "AA", "%"] {
                let mut garbled = text.clone();
                garbled.replace_range(index..=index, other);
                assert!(garbled == text || open_cursor(7, "usage", &garbled).is_err(), "{garbled}");
            }
        }
        for text in ["", "x", "AQ", "é", "null"] {
            assert_eq!(open_cursor(7, "usage", text), Err(CursorError));
        }
    }

    #[test]
    fn a_cursor_does_not_say_how_many_rows_there_are() {
        let texts = [40_u64, 41, 42].map(|no| seal_cursor(7, "usage", &no.to_le_bytes()));
        for (text, no) in texts.iter().zip([40_u8, 41, 42]) {
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            assert!(bytes[1..9] != [no, 0, 0, 0, 0, 0, 0, 0], "{text}");
        }
        let long = vec![b'x'; 500];
        assert_eq!(open_cursor(7, "users", &seal_cursor(7, "users", &long)).unwrap(), long);
    }

    #[test]
    fn what_is_wrong_with_a_query_is_told_at_once() {
        let mut parameters = Parameters::parse("limit=0&mnth=2025-10&q=a+b%20c&q=d&steps=maybe&bad=%ff");
        assert_eq!(parameters.limit(), 50);
        assert_eq!(parameters.take("q").as_deref(), Some("a b c"));
        assert!(parameters.flag("steps", true));
        let Err(problem) = parameters.finish() else { panic!("nothing was wrong") };
        let text = format!("{problem:?}");
        for pointer in ["/limit", "/mnth", "\"/q\"", "/steps", "/bad"] {
            assert!(text.contains(pointer), "{pointer}: {text}");
        }
        let mut parameters = Parameters::parse("limit=1000");
        assert_eq!(parameters.limit(), 1000);
        assert!(parameters.finish().is_ok());
        for limit in ["1001", "-1", "+1", "1.0", "", "x", "00000000000000000001"] {
            let mut parameters = Parameters::parse(&format!("limit={limit}"));
            parameters.limit();
            assert!(parameters.finish().is_err(), "{limit}");
        }
    }
}
