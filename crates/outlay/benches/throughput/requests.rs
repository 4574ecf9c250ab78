//! The requests: built once as text, then only their ids, users and costs are written anew, in place. All have a fixed
//! width, so that making a request costs the client next to nothing.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// An operation of 185 bytes.
pub(crate) const OPERATION: &str = r#"{"operationId":"usage_<id>","userId":"user_<user>","feature":"contact_tagging_<feature>","provider":"gemini","model":"gemini-2.5-flash-lite","cost":0.000<cost>,"isBillableRun":true}"#;

/// Its length, once it is filled in.
pub(crate) const OPERATION_BYTES: usize = 185;

/// Lets the users of the default plan do what they like: what is measured is not refusals.
pub(crate) const UNLIMITED_PLAN: (&str, &str, &str) =
    ("PUT", "/v1/plans/base", r#"{"limits":{"cost":1000000,"aiRuns":1000000000,"apiRuns":1000000000}}"#);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Many operations in one body.
    Batch(usize),
    /// One operation.
    Record,
    /// One operation, without the budget in the answer.
    RecordMinimal,
    /// A session: open with a hold, record a step, finish. One cycle is three requests.
    Session,
    /// Whether something fits.
    Afford,
}

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Batch(size) => format!("record in batches of {size}"),
            Kind::Record => "record".to_owned(),
            Kind::RecordMinimal => "record, minimal answer".to_owned(),
            Kind::Session => "open, record, finish".to_owned(),
            Kind::Afford => "afford".to_owned(),
        }
    }

    /// What one cycle counts as.
    pub(crate) const fn operations(self) -> u64 {
        self.width() as u64
    }

    /// How many operations' values one cycle takes.
    pub(crate) const fn width(self) -> usize {
        match self {
            Kind::Batch(size) => size,
            _ => 1,
        }
    }

    /// The requests of one cycle.
    pub(crate) fn templates(self) -> Vec<Template> {
        let usage = |headers, body: &str| Template::new("POST", "/v1/usage", headers, body);
        match self {
            Kind::Batch(size) => vec![usage("", &format!("[{}]", vec![OPERATION; size].join(",")))],
            Kind::Record => vec![usage("", OPERATION)],
            Kind::RecordMinimal => vec![usage("prefer: return=minimal\r\n", OPERATION)],
            Kind::Session => vec![
                Template::new(
                    "POST",
                    "/v1/users/user_<user>/sessions",
                    "",
                    r#"{"sessionId":"session_<id>","feature":"contact_tagging_<feature>","estimate":{"cost":0.001,"aiRuns":1}}"#,
                ),
                usage("", &OPERATION.replace("\"isBillableRun\"", "\"sessionId\":\"session_<id>\",\"isBillableRun\"")),
                Template::new(
                    "POST",
                    "/v1/users/user_<user>/sessions/session_<id>/finish",
                    "",
                    r#"{"status":"completed"}"#,
                ),
            ],
            Kind::Afford => vec![Template::new(
                "POST",
                "/v1/users/user_<user>/afford",
                "",
                r#"{"estimate":{"cost":0.001,"aiRuns":1}}"#,
            )],
        }
    }
}

/// A place in a request that is written anew.
#[derive(Clone, Copy)]
enum Slot {
    /// 16 hexadecimal digits.
    Id,
    /// 6 digits.
    User,
    /// 2 digits.
    Feature,
    /// 5 digits.
    Cost,
}

const SLOTS: [(&str, Slot, usize); 4] =
    [("<id>", Slot::Id, 16), ("<user>", Slot::User, 6), ("<feature>", Slot::Feature, 2), ("<cost>", Slot::Cost, 5)];

/// The values of one operation.
#[derive(Clone, Copy)]
pub(crate) struct Values {
    pub(crate) id: u64,
    pub(crate) user: u32,
    pub(crate) feature: u32,
    pub(crate) cost: u32,
}

/// Where values come from: ids count up and are never used twice in a run, the rest is random.
pub(crate) struct Source {
    random: Pcg64,
    users: u32,
    next_id: u64,
}

impl Source {
    pub(crate) fn new(seed: u64, users: u32) -> Self {
        assert!((1..=1_000_000).contains(&users), "users must be 1 to 1,000,000");
        Self { random: Pcg64::seed_from_u64(seed), users, next_id: 0 }
    }

    /// Lends it to somebody who gives it back by putting it where it was.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(0, 1))
    }

    /// The next operations, in place of what is there.
    pub(crate) fn refill(&mut self, values: &mut Vec<Values>, count: usize) {
        values.clear();
        values.extend((0..count).map(|_| self.values()));
    }

    /// The next operation.
    pub(crate) fn values(&mut self) -> Values {
        let random = self.random.next_u64();
        self.next_id += 1;
        let low = u32::try_from(random & 0xffff_ffff).unwrap_or(0);
        let high = u32::try_from(random >> 32).unwrap_or(0);
        Values { id: self.next_id, user: low % self.users, feature: high % 8, cost: (high >> 3) % 100_000 }
    }
}

/// One request with the places that are written anew, in groups: the places of one operation each.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    groups: Vec<Vec<(usize, Slot)>>,
}

impl Template {
    fn new(method: &str, path: &str, headers: &str, body: &str) -> Self {
        let length = filled_length(body);
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        let mut template = Self { bytes: Vec::with_capacity(text.len()), groups: Vec::new() };
        let mut rest = text.as_str();
        let ids_in_body = body.matches("usage_<id>").count();
        while let Some(at) = rest.find('<') {
            let (marker, slot, width) = *SLOTS.iter().find(|(marker, ..)| rest[at..].starts_with(marker)).unwrap();
            template.bytes.extend_from_slice(&rest.as_bytes()[..at]);
            // In a batch each operation begins with its id.
            let begins = matches!(slot, Slot::Id) && ids_in_body > 1;
            if template.groups.is_empty() || begins {
                template.groups.push(Vec::new());
            }
            template.groups.last_mut().unwrap().push((template.bytes.len(), slot));
            template.bytes.resize(template.bytes.len() + width, b'0');
            rest = &rest[at + marker.len()..];
        }
        template.bytes.extend_from_slice(rest.as_bytes());
        template
    }

    /// Writes the values of its operations into the request.
    pub(crate) fn fill(&mut self, values: &[Values]) -> &[u8] {
        for (group, values) in self.groups.iter().zip(values) {
            for (at, slot) in group {
                match slot {
                    Slot::Id => digits(&mut self.bytes[*at..at + 16], values.id, 16),
                    Slot::User => digits(&mut self.bytes[*at..at + 6], values.user.into(), 10),
                    Slot::Feature => digits(&mut self.bytes[*at..at + 2], values.feature.into(), 10),
                    Slot::Cost => digits(&mut self.bytes[*at..at + 5], values.cost.into(), 10),
                }
            }
        }
        &self.bytes
    }
}

fn filled_length(text: &str) -> usize {
    SLOTS.iter().fold(text.len(), |length, (marker, _, width)| {
        let count = text.matches(marker).count();
        length + count * width - count * marker.len()
    })
}

/// Writes a number right-aligned, with zeros before it.
fn digits(to: &mut [u8], mut number: u64, base: u64) {
    for place in to.iter_mut().rev() {
        *place = b"0123456789abcdef"[usize::try_from(number % base).unwrap_or(0)];
        number /= base;
    }
}
