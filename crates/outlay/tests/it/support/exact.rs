//! JSON with numbers kept as exact decimals, so that a sum is compared to the last picodollar and never through a float.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

/// A JSON value whose numbers are decimal text without an exponent and without trailing zeros: `3.00` and `3` are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads JSON text.
    ///
    /// # Errors
    /// What `serde_json` says when the text is no JSON, or holds more than one value.
    pub(crate) fn parse(text: &str) -> Result<Json, serde_json::Error> {
        let text = text.trim();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let read = members.into_iter().map(|(key, raw)| Ok((key, Json::parse(raw.get())?)));
                Json::Object(read.collect::<Result<_, serde_json::Error>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                Json::List(items.into_iter().map(|raw| Json::parse(raw.get())).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Json::Text(serde_json::from_str(text)?),
            Some(b't' | b'f') => Json::Bool(serde_json::from_str(text)?),
            Some(b'n') => {
                serde_json::from_str::<()>(text)?;
                Json::Null
            }
            _ => {
                let number: &RawValue = serde_json::from_str(text)?;
                Json::Number(plain(number.get()))
            }
        })
    }

    /// The value that a JSON pointer (`/meters/cost/used`) leads to, or `None` where it leads nowhere.
    pub(crate) fn get(&self, pointer: &str) -> Option<&Json> {
        pointer.split('/').skip(1).try_fold(self, |value, step| match value {
            Json::Object(members) => members.get(step),
            Json::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// As [`Json::get`], where the value must be there.
    #[track_caller]
    pub(crate) fn at(&self, pointer: &str) -> &Json {
        self.get(pointer).unwrap_or_else(|| panic!("nothing at {pointer} of {self}"))
    }

    /// The string at `pointer`.
    #[track_caller]
    pub(crate) fn text(&self, pointer: &str) -> &str {
        match self.at(pointer) {
            Json::Text(text) => text,
            other => panic!("no string at {pointer}: {other}"),
        }
    }

    /// The items of the list at `pointer`.
    #[track_caller]
    pub(crate) fn list(&self, pointer: &str) -> &[Json] {
        match self.at(pointer) {
            Json::List(items) => items,
            other => panic!("no list at {pointer}: {other}"),
        }
    }

    /// The number at `pointer` in units of 10^-12: picodollars, for money.
    #[track_caller]
    pub(crate) fn pico(&self, pointer: &str) -> i128 {
        match self.at(pointer) {
            Json::Number(text) => pico(text),
            other => panic!("no number at {pointer}: {other}"),
        }
    }

    /// Asserts what stands at `pointer`. `expected` is JSON text, and words that are no JSON stand for the string they spell.
    #[track_caller]
    pub(crate) fn shows(&self, pointer: &str, expected: &str) -> &Json {
        let expected = Json::parse(expected).unwrap_or_else(|_| Json::Text(expected.to_owned()));
        let found = self.at(pointer);
        assert!(*found == expected, "{pointer} should be {expected}, and is {found}, in {self}");
        self
    }

    /// Asserts a time, however many decimals it is written with.
    #[track_caller]
    pub(crate) fn instant(&self, pointer: &str, expected: &str) -> &Json {
        let read =
            |text: &str| text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{pointer}: {error} in {self}"));
        assert!(read(self.text(pointer)) == read(expected), "{pointer} should be {expected}, in {self}");
        self
    }

    /// Asserts amounts (`{"cost", "aiRuns", "apiRuns"}`) at `pointer`; an absent meter counts as 0.
    #[track_caller]
    pub(crate) fn amounts(&self, pointer: &str, cost: &str, ai_runs: &str, api_runs: &str) -> &Json {
        for (meter, expected) in [("cost", cost), ("aiRuns", ai_runs), ("apiRuns", api_runs)] {
            let found = match self.at(pointer).get(&format!("/{meter}")) {
                Some(Json::Number(text)) => pico(text),
                None => 0,
                Some(other) => panic!("{pointer}/{meter} is {other}, in {self}"),
            };
            assert!(found == pico(expected), "{pointer}/{meter} should be {expected}, in {self}");
        }
        self
    }

    /// Asserts `used` and `held` of one meter of a budget.
    #[track_caller]
    pub(crate) fn meter(&self, meter: &str, used: &str, held: &str) -> &Json {
        self.shows(&format!("/meters/{meter}/used"), used).shows(&format!("/meters/{meter}/held"), held)
    }

    /// The object without one member.
    pub(crate) fn without(mut self, key: &str) -> Json {
        if let Json::Object(members) = &mut self {
            members.remove(key);
        }
        self
    }

    /// Whether `found` says yes to this value or to any value inside it.
    pub(crate) fn any(&self, found: &dyn Fn(&Json) -> bool) -> bool {
        found(self)
            || match self {
                Json::List(items) => items.iter().any(|item| item.any(found)),
                Json::Object(members) => members.values().any(|item| item.any(found)),
                _ => false,
            }
    }

    /// Whether this number stands somewhere in the value.
    pub(crate) fn has_number(&self, number: &str) -> bool {
        let number = Json::Number(plain(number));
        self.any(&|value| *value == number)
    }

    /// Whether this string stands somewhere in the value.
    pub(crate) fn has_text(&self, text: &str) -> bool {
        self.any(&|value| matches!(value, Json::Text(found) if found == text))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(text) => f.write_str(text),
            Json::Text(text) => write!(f, "{text:?}"),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (key, item)) in members.iter().enumerate() {
                    write!(f, "{}{key:?}:{item}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Number text in its one plain form. The contract answers without exponents and never with a negative zero.
fn plain(text: &str) -> String {
    assert!(!text.contains(['e', 'E']), "a number was answered with an exponent: {text}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    assert!(text != "-0", "a negative zero was answered");
    text.to_owned()
}

/// Plain decimal text in units of 10^-12; more decimals than that are a fault of the answer.
pub(crate) fn pico(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 12, "{text} has more than 12 decimals");
    sign * format!("{whole}{fraction:0<12}").parse::<i128>().unwrap()
}

/// Units of 10^-12 as decimal text.
pub(crate) fn decimal(pico: i128) -> String {
    let sign = if pico < 0 { "-" } else { "" };
    let (whole, fraction) = (pico.unsigned_abs() / 1_000_000_000_000, pico.unsigned_abs() % 1_000_000_000_000);
    plain(&format!("{sign}{whole}.{fraction:012}"))
}

#[test]
fn numbers_are_compared_as_decimals() {
    let read = |text: &str| Json::parse(text).unwrap();
    assert_eq!(read("3.00"), read("3"));
    assert_eq!(read("[0.10, {\"a\": 0.0}]"), read("[0.1,{\"a\":0}]"));
    // One picodollar at the end of a number that no float tells apart.
    assert_ne!(read("9000000.000000000001"), read("9000000.000000000002"));
    assert_ne!(read("3"), read("\"3\""));
    assert_eq!(decimal(pico("9000000.000000000001")), "9000000.000000000001");
    assert_eq!(decimal(pico("-0.5")), "-0.5");
    assert!(Json::parse("2025-10").is_err() && Json::parse("{} {}").is_err() && Json::parse("nul").is_err());
}
