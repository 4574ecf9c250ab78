//! Splits JSON text into the members of an object or the items of an array, each left as raw text. One pass, no tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Members of an object, at most. No body has more fields; `units` may have as many names.
pub(in crate::http) const MEMBERS_MAX: usize = 64;

/// One member: its name without escapes, and its value as it stands.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) raw: &'a str,
}

/// An object's members.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// Names that are there more than once.
    pub(super) repeated: Vec<Cow<'a, str>>,
}

/// Splits an object.
pub(super) fn members(text: &str) -> Result<Members<'_>, String> {
    if !text.trim_start().starts_with('{') {
        return Err(not(text, "must be an object"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(MembersVisitor).and_then(|members| reader.end().map(|()| members)).map_err(told)
}

/// Splits an array of 1 to `max` items.
pub(super) fn items(text: &str, max: usize) -> Result<Vec<&str>, String> {
    if !text.trim_start().starts_with('[') {
        return Err(not(text, "must be an array"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let items =
        reader.deserialize_seq(ItemsVisitor { max }).and_then(|items| reader.end().map(|()| items)).map_err(told)?;
    if items.is_empty() { Err(format!("must have 1 to {max} items")) } else { Ok(items) }
}

fn not(text: &str, wanted: &str) -> String {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => wanted.to_owned(),
        Err(error) => told(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn told(error: serde_json::Error) -> String {
    if error.is_data() { format!("{error}") } else { format!("must be JSON: {error}") }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut split = Members { members: Vec::with_capacity(16), repeated: Vec::new() };
        while let Some(name) = map.next_key_seed(NameSeed)? {
            let raw: &RawValue = map.next_value()?;
            if split.members.len() + split.repeated.len() >= MEMBERS_MAX {
                return Err(A::Error::custom(format!("must have at most {MEMBERS_MAX} members")));
            }
            // Quadratic, but over 64 names at most.
            if split.members.iter().any(|member| member.name == name) {
                split.repeated.push(name);
            } else {
                split.members.push(Member { name, raw: raw.get() });
            }
        }
        Ok(split)
    }
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

struct ItemsVisitor {
    max: usize,
}

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Vec<&'de str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(raw) = sequence.next_element::<&RawValue>()? {
            if items.len() >= self.max {
                return Err(A::Error::custom(format!("must have 1 to {} items", self.max)));
            }
            items.push(raw.get());
        }
        Ok(items)
    }
}
