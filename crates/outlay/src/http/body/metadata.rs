//! An application's own JSON object: checked, kept compact, and written canonically for the fingerprint.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Object;

/// Bytes of metadata as given, at most.
const BYTES_MAX: usize = 8 * 1024;
/// Objects and arrays within each other, at most, the whole one included.
pub(super) const NESTED_MAX: usize = 32;

/// Metadata that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Metadata {
    /// As given, without the space between tokens.
    pub(in crate::http) compact: Arc<str>,
    /// As RFC 8785 writes it: two that mean the same are the same text.
    pub(in crate::http) canonical: String,
}

/// Reads the member `metadata`; an empty object is as if it were absent, and so is what is wrong, which is noted.
pub(in crate::http) fn read(fields: &mut Object<'_>) -> Option<Metadata> {
    let raw = fields.take("metadata")?;
    if !raw.starts_with('{') {
        fields.wrong("metadata", "must be an object");
        return None;
    }
    if raw.len() > BYTES_MAX {
        fields.too_large("metadata", format!("must have at most {BYTES_MAX} bytes"));
        return None;
    }
    let canonical = canonical(raw).map_err(|detail| fields.wrong("metadata", detail)).ok()?;
    (canonical != "{}").then(|| Metadata { compact: compact(raw), canonical })
}

fn canonical(raw: &str) -> Result<String, String> {
    let mut reader = serde_json::Deserializer::from_str(raw);
    let told = |error: serde_json::Error| {
        // The place that the parser adds counts from the beginning of the metadata, not of the body.
        let text = error.to_string();
        text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned())
    };
    let node = NodeSeed { depth: 1 }.deserialize(&mut reader).map_err(told)?;
    serde_json_canonicalizer::to_string(&node).map_err(told)
}

/// The text without space between tokens.
fn compact(raw: &str) -> Arc<str> {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        if !character.is_ascii_whitespace() {
            text.push(character);
        }
        if character != '"' {
            continue;
        }
        while let Some(inside) = characters.next() {
            text.push(inside);
            match inside {
                '"' => break,
                '\\' => text.extend(characters.next()),
                _ => {}
            }
        }
    }
    text.into()
}

/// A JSON value whose objects have each name once.
enum Node<'a> {
    Null,
    Flag(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[derive(Clone, Copy)]
struct NodeSeed {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl NodeSeed {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth > NESTED_MAX {
            Err(E::custom(format!("must not be nested deeper than {NESTED_MAX}")))
        } else {
            Ok(Self { depth: self.depth + 1 })
        }
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Node<'de>, E> {
        Ok(Node::Flag(flag))
    }

    #[expect(clippy::cast_precision_loss, reason = "RFC 8785 has no numbers but these; metadata is not money")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "RFC 8785 has no numbers but these; metadata is not money")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node<'de>, A::Error> {
        let seed = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let seed = self.below()?;
        let mut members: Vec<(Cow<'de, str>, Node<'de>)> = Vec::new();
        while let Some(name) = map.next_key_seed(NodeSeed { depth: 0 })? {
            let Node::Text(name) = name else { return Err(A::Error::custom("names must be strings")) };
            members.push((name, map.next_value_seed(seed)?));
        }
        // Sorted, so that 8 KiB of names take no quadratic time.
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some((name, _)) = members.windows(2).find_map(|pair| match pair {
            [a, b] if a.0 == b.0 => Some(a),
            _ => None,
        }) {
            let name: String = name.chars().take(64).collect();
            return Err(A::Error::custom(format!("must name `{name}` once")));
        }
        Ok(Node::Object(members))
    }
}
