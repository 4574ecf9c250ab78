//! JSON out: compact text, written straight into one buffer, with numbers as exact decimals.
//!
//! Nothing here knows what a budget or a session is; [`super::present`] does.

use std::fmt::{Display, Write};

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::money::{Quantity, Usd, UsdSum};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::plan::Meter;
use serde_json::value::RawValue;

/// JSON text in the making.
#[derive(Debug, Default)]
pub(super) struct Json(String);

impl Json {
    /// One value, with room for `bytes` of text.
    pub(super) fn with_room(bytes: usize, write: impl FnOnce(&mut Self)) -> Self {
        let mut json = Self(String::with_capacity(bytes));
        write(&mut json);
        json
    }

    /// An object as the whole text.
    pub(super) fn of_object(write: impl FnOnce(&mut Object<'_>)) -> Self {
        Self::with_room(1_024, |json| json.object(write))
    }

    /// Writes an object.
    pub(super) fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        self.0.push('{');
        write(&mut Object { json: self, empty: true });
        self.0.push('}');
    }

    /// Writes an array; `write` writes one value for each item.
    pub(super) fn array<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.0.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            write(self, item);
        }
        self.0.push(']');
    }

    /// Writes one value.
    pub(super) fn value(&mut self, value: impl ToJson) {
        value.write_to(self);
    }

    /// Ends a line, for JSON Lines.
    pub(super) fn end_line(&mut self) {
        self.0.push('\n');
    }

    /// The text as bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The text as a member of a problem; `None` only if it were no JSON.
    pub(super) fn into_raw(self) -> Option<Box<RawValue>> {
        RawValue::from_string(self.0).ok()
    }

    /// The answer that has this text as its body.
    pub(super) fn answer(self, status: StatusCode) -> Response {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (status, headers, self.into_bytes()).into_response()
    }

    fn text(&mut self, text: &str) {
        self.0.push('"');
        // Nearly every text is plain, which is seen many bytes at a time.
        if !text.bytes().fold(false, |escapes, byte| escapes | needs_escape(byte)) {
            self.0.push_str(text);
            self.0.push('"');
            return;
        }
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !needs_escape(byte) {
                continue;
            }
            self.0.push_str(&text[written..at]);
            written = at + 1;
            match byte {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                _ => {
                    // Writing to a string cannot fail.
                    let _ = write!(self.0, "\\u{byte:04x}");
                }
            }
        }
        self.0.push_str(&text[written..]);
        self.0.push('"');
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.0.push_str(itoa::Buffer::new().format(number));
    }

    /// Writes what shows itself as a JSON number.
    fn number(&mut self, number: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{number}");
    }

    /// Writes what shows itself in characters that need no escape.
    fn quoted(&mut self, plain: impl Display) {
        let _ = write!(self.0, "\"{plain}\"");
    }
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// An object that is being written, member by member.
#[derive(Debug)]
pub(super) struct Object<'a> {
    json: &'a mut Json,
    empty: bool,
}

impl Object<'_> {
    /// A member.
    pub(super) fn put(&mut self, name: &str, value: impl ToJson) -> &mut Self {
        value.write_to(self.key(name));
        self
    }

    /// A member that is an object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(name).object(write);
        self
    }

    /// A member that is an array.
    pub(super) fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Json, T),
    ) -> &mut Self {
        self.key(name).array(items, write);
        self
    }

    /// A member whose value something else writes.
    pub(super) fn with(&mut self, name: &str, write: impl FnOnce(&mut Json)) -> &mut Self {
        write(self.key(name));
        self
    }

    fn key(&mut self, name: &str) -> &mut Json {
        if !self.empty {
            self.json.0.push(',');
        }
        self.empty = false;
        self.json.text(name);
        self.json.0.push(':');
        self.json
    }
}

/// What can be written as a JSON value.
pub(super) trait ToJson {
    /// Writes it.
    fn write_to(self, json: &mut Json);
}

impl<T: ToJson> ToJson for Option<T> {
    fn write_to(self, json: &mut Json) {
        match self {
            Some(value) => value.write_to(json),
            None => json.0.push_str("null"),
        }
    }
}

impl ToJson for &str {
    fn write_to(self, json: &mut Json) {
        json.text(self);
    }
}

impl ToJson for bool {
    fn write_to(self, json: &mut Json) {
        json.0.push_str(if self { "true" } else { "false" });
    }
}

impl ToJson for Meter {
    fn write_to(self, json: &mut Json) {
        json.text(self.as_str());
    }
}

macro_rules! written_as {
    ($($how:ident: $($type:ty),*;)*) => {
        $($(impl ToJson for $type {
            fn write_to(self, json: &mut Json) {
                json.$how(self);
            }
        })*)*
    };
}

written_as! {
    integer: u8, u16, u32, u64, i64, i128, usize;
    number: Usd, UsdSum, Quantity;
    quoted: Month, Day, Timestamp;
}

macro_rules! texts {
    ($($type:ty),*) => {
        $(impl ToJson for &$type {
            fn write_to(self, json: &mut Json) {
                json.text(self.as_str());
            }
        })*
    };
}

texts!(UserId, SessionId, OperationId, Name, Label);

/// Text that is JSON already, such as an application's metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a str);

impl ToJson for Raw<'_> {
    fn write_to(self, json: &mut Json) {
        json.0.push_str(self.0);
    }
}

/// Hundredths, like those of a percent: `333` is written `3.33`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hundredths(pub(super) i128);

impl ToJson for Hundredths {
    fn write_to(self, json: &mut Json) {
        let picos_per_hundredth = outlay_core::money::PICOS_PER_USD / 100;
        json.number(UsdSum::from_picos(self.0.saturating_mul(i128::from(picos_per_hundredth))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_compact_and_exact() {
        let json = Json::of_object(|object| {
            object.put("text", "a\"b\\c\n\r\t\u{1}\u{7f}é😀</script>").put("none", None::<&str>).put("yes", true);
            object.put("cost", Usd::from_picos(107_850_000)).put("percent", Hundredths(333));
            object.put("full", Hundredths(10_000)).put("little", Hundredths(5)).put("raw", Raw("{\"a\":1}"));
            object.object("empty", |_| {}).array("list", [1_u64, 2], Json::value);
            object.put("at", Timestamp::from_seconds(1_760_380_376).unwrap());
        });
        let expected = concat!(
            r#"{"text":"a\"b\\c\n\r\t\u0001"#,
            "\u{7f}é😀</script>",
            r#"","none":null,"yes":true,"cost":0.00010785,"percent":3.33,"full":100,"little":0.05,"raw":{"a":1},"#,
            r#""empty":{},"list":[1,2],"at":"2025-10-13T18:32:56Z"}"#
        );
        assert_eq!(String::from_utf8(json.into_bytes()).unwrap(), expected);
    }

    proptest::proptest! {
        #[test]
        fn every_text_reads_back_as_itself(text in ".*") {
            let json = Json::with_room(16, |json| json.value(text.as_str()));
            let read: String = serde_json::from_slice(&json.into_bytes()).unwrap();
            proptest::prop_assert_eq!(read, text);
        }
    }
}
