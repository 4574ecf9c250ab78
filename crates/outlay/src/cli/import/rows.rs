//! Reads the rows of a file and says what each asks for.
//!
//! Of an export, facts come back: users, operations, reversals, how sessions ended, and the holds of those that still run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use outlay_core::month::Timestamp;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::holds::{self, Opening};
use super::{Failure, Importing};

/// Fields that an export adds to an operation, and that nobody posts.
const ADDED_BY_EXPORT: [&str; 8] =
    ["kind", "month", "recordedAt", "recordedIn", "reverses", "reversedBy", "reason", "trimmed"];

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// Its line in the file, from 1.
    pub(super) line: u64,
    /// The row as it stands there.
    pub(super) original: Vec<u8>,
    /// What it asks for, or why it cannot be read.
    pub(super) step: Result<Step, String>,
}

/// What a row asks for.
#[derive(Debug)]
pub(super) enum Step {
    /// Record an operation.
    Operation {
        /// The operation as it is posted.
        body: Vec<u8>,
        /// Whether its id comes from the file's content.
        id_made: bool,
        /// Whether it says when it was.
        timed: bool,
        /// Whether retention had emptied it where it comes from.
        trimmed: bool,
    },
    /// Take an operation back.
    Reverse { user: String, original: String, body: String },
    /// Set a user.
    User { user: String, body: String },
    /// Open a session that still runs in the export, or was abandoned.
    Open(Box<Opening>),
    /// Finish a session.
    Finish { user: String, session: String, body: String },
    /// Nothing: it comes back by what else is in the export, or not at all.
    Skip(Skipped),
}

/// Why a row asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    /// A session that runs without a hold: its steps make it again.
    Session,
    /// A session that is over and never had a step.
    Unused,
    /// It says what was refused elsewhere.
    Denial,
    /// It is made again by the operations that cross the threshold.
    Alert,
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// A name for the content of a file, from which ids are made.
pub(super) struct Content<'a> {
    path: &'a Path,
    hash: Option<u128>,
}

impl<'a> Content<'a> {
    pub(super) const fn of(path: &'a Path) -> Self {
        Self { path, hash: None }
    }

    /// The operation id of a line that has none: the same for the same content, another for any other.
    fn operation_id(&mut self, line: u64) -> std::io::Result<String> {
        let hash = match self.hash {
            Some(hash) => hash,
            None => *self.hash.insert(hash_of(self.path)?),
        };
        Ok(format!("import_{hash:032x}_{line}"))
    }
}

fn hash_of(path: &Path) -> std::io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok(hasher.digest128());
        }
        hasher.update(bytes.get(..read).unwrap_or_default());
    }
}

/// What a line of a JSON Lines file asks for.
pub(super) fn row_of(line: u64, text: &[u8], now: Timestamp, content: &mut Content<'_>) -> std::io::Result<Row> {
    let step = match serde_json::from_slice::<Fields>(text) {
        Ok(fields) => match step_of(fields, text, now) {
            Ok(Step::Operation { body, id_made: true, timed, trimmed }) => {
                let body = with_id(&body, &content.operation_id(line)?);
                Ok(Step::Operation { body, id_made: true, timed, trimmed })
            }
            step => step,
        },
        Err(error) => Err(format!("is not a JSON object: {error}")),
    };
    Ok(Row { line, original: text.to_vec(), step })
}

/// What a JSON row asks for. An operation that has no id is given one afterwards.
fn step_of(mut fields: Fields, text: &[u8], now: Timestamp) -> Result<Step, String> {
    let kind = string(&fields, "kind")?;
    let timed = fields.get("timestamp").is_some_and(|time| time.get() != "null");
    if kind.is_none() {
        // An id that is no text is the server's to refuse.
        let id_made = string(&fields, "operationId").is_ok_and(|id| id.is_none());
        if !id_made {
            return Ok(Step::Operation { body: text.to_vec(), id_made, timed, trimmed: false });
        }
        fields.remove("operationId");
        return Ok(Step::Operation { body: to_bytes(&fields), id_made, timed, trimmed: false });
    }
    let needed = |key: &str| string(&fields, key)?.ok_or_else(|| format!("{key} is missing"));
    match kind.as_deref() {
        Some("operation") => {
            if let Some(original) = string(&fields, "reverses")? {
                let user = needed("userId")?;
                let body = picked(&fields, &[("operationId", "operationId"), ("reason", "reason")]);
                return Ok(Step::Reverse { user, original, body });
            }
            let id_made = string(&fields, "operationId")?.is_none();
            if id_made {
                fields.remove("operationId");
            }
            let trimmed = fields.get("trimmed").is_some_and(|trimmed| trimmed.get() == "true");
            for added in ADDED_BY_EXPORT {
                fields.remove(added);
            }
            Ok(Step::Operation { body: to_bytes(&fields), id_made, timed, trimmed })
        }
        Some("user") => {
            let user = needed("userId")?;
            let body = picked(&fields, &[("plan", "plan"), ("email", "email"), ("overrides", "limits")]);
            Ok(Step::User { user, body })
        }
        Some("session") => {
            let (user, session) = (needed("userId")?, needed("sessionId")?);
            let status = needed("status")?;
            if status == "completed" || status == "failed" {
                let body = picked(&fields, &[("status", "status"), ("error", "error")]);
                return Ok(Step::Finish { user, session, body });
            }
            let read = holds::read_row(text, now)?;
            Ok(read.map_or_else(Step::Skip, |opening| Step::Open(Box::new(opening))))
        }
        Some("denial") => Ok(Step::Skip(Skipped::Denial)),
        Some("alert") => Ok(Step::Skip(Skipped::Alert)),
        Some(kind) => Err(format!("the kind `{kind}` is not known")),
        None => Err("the kind is missing".to_owned()),
    }
}

/// A field's text; none when it is absent or null.
fn string(fields: &Fields, key: &str) -> Result<Option<String>, String> {
    let Some(value) = fields.get(key) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| format!("{key} must be a text"))
}

/// An object of some fields under the names that the API takes; null is as good as absent.
fn picked(fields: &Fields, names: &[(&str, &str)]) -> String {
    let found = names.iter().filter_map(|(from, to)| Some((*to, fields.get(*from)?)));
    let object: BTreeMap<&str, &Box<RawValue>> = found.filter(|(_, value)| value.get() != "null").collect();
    serde_json::to_string(&object).unwrap_or_default()
}

fn to_bytes(fields: &Fields) -> Vec<u8> {
    serde_json::to_vec(fields).unwrap_or_default()
}

/// Puts an id in front of the other fields of an object.
fn with_id(body: &[u8], id: &str) -> Vec<u8> {
    let rest = body.trim_ascii().strip_prefix(b"{").unwrap_or_default().trim_ascii_start();
    let comma = if rest.first() == Some(&b'}') { "" } else { "," };
    [format!("{{\"operationId\":\"{id}\"{comma}").as_bytes(), rest].concat()
}

/// Reads a file of comma-separated values whose header names the fields.
pub(super) async fn csv(path: &Path, importing: &mut Importing<'_>) -> Result<(), Failure> {
    let unreadable = |error: csv::Error| Failure::Other(format!("read {}: {error}", path.display()));
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_path(path).map_err(unreadable)?;
    let headers: Vec<String> =
        reader.headers().map_err(unreadable)?.iter().map(|h| h.trim_start_matches('\u{feff}').to_owned()).collect();
    for needed in ["userId", "feature"] {
        if !headers.iter().any(|header| header == needed) {
            let advice = "its first line must name the fields of an operation, at least userId, feature and cost";
            return Err(Failure::Other(format!("{} has no column {needed}: {advice}", path.display())));
        }
    }
    let mut content = Content::of(path);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        let line = record.position().map_or(0, csv::Position::line);
        let original = csv_original(&headers, &record);
        let step = match csv_fields(&headers, &record) {
            Ok(body) => {
                let (timed, id_made) = (body.contains_key("timestamp"), !body.contains_key("operationId"));
                let mut bytes = to_bytes(&body);
                if id_made {
                    let id = content.operation_id(line).map_err(Failure::io(format!("read {}", path.display())))?;
                    bytes = with_id(&bytes, &id);
                }
                Ok(Step::Operation { body: bytes, id_made, timed, trimmed: false })
            }
            Err(reason) => Err(reason),
        };
        importing.take(Row { line, original, step }).await?;
        importing.reached(reader.position().byte());
    }
    Ok(())
}

/// The row by its columns, for the file of rejected rows.
fn csv_original(headers: &[String], record: &csv::ByteRecord) -> Vec<u8> {
    let names = headers.iter().map(String::as_str).chain(std::iter::repeat("(no column)"));
    let cells = names.zip(record).map(|(name, cell)| (name.to_owned(), String::from_utf8_lossy(cell).into()));
    serde_json::Value::Object(cells.collect()).to_string().into_bytes()
}

/// The fields of a row in their JSON form. An empty cell is an absent field.
fn csv_fields(headers: &[String], record: &csv::ByteRecord) -> Result<Fields, String> {
    if record.len() > headers.len() {
        return Err(format!("has {} cells where the header has {} names", record.len(), headers.len()));
    }
    let mut fields = Fields::new();
    for (name, cell) in headers.iter().zip(record) {
        let cell = std::str::from_utf8(cell).map_err(|_| format!("{name} is not UTF-8"))?;
        if !cell.is_empty() {
            fields.insert(name.clone(), csv_value(name, cell));
        }
    }
    Ok(fields)
}

/// A cell as JSON. Where it cannot be what the field needs it stays a text, and the server says what is wrong with it.
fn csv_value(name: &str, cell: &str) -> Box<RawValue> {
    let raw = |text: String| RawValue::from_string(text).ok();
    let cell_json = match name {
        "isBillableRun" => match cell.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => raw("true".to_owned()),
            "false" | "0" | "no" => raw("false".to_owned()),
            _ => None,
        },
        "stepNumber" | "durationMs" if cell.bytes().all(|byte| byte.is_ascii_digit()) => raw(cell.to_owned()),
        "tokens" | "units" | "metadata" => raw(cell.to_owned()),
        _ => None,
    };
    cell_json.unwrap_or_else(|| serde_json::value::to_raw_value(cell).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: &str) -> Result<Step, String> {
        let now = Timestamp::parse("2025-10-13T18:00:00Z").unwrap();
        step_of(serde_json::from_str(text).map_err(|error| error.to_string())?, text.as_bytes(), now)
    }

    /// Steps have bodies of JSON, which tell whether they are the same.
    fn is(text: &str, expected: &Step) {
        assert_eq!(format!("{:?}", step(text).unwrap()), format!("{expected:?}"), "{text}");
    }

    #[test]
    fn an_operation_is_posted_as_it_stands_and_one_of_an_export_without_what_was_added() {
        let plain = r#"{"userId": "u", "cost": 0.10, "operationId": "o"}"#;
        is(plain, &Step::Operation { body: plain.into(), id_made: false, timed: false, trimmed: false });
        let exported = r#"{"kind":"operation","operationId":"o","userId":"u","cost":0.00010785,"month":"2025-10","timestamp":"2025-10-05T00:00:00Z","reverses":null,"trimmed":true}"#;
        let body = br#"{"cost":0.00010785,"operationId":"o","timestamp":"2025-10-05T00:00:00Z","userId":"u"}"#.to_vec();
        is(exported, &Step::Operation { body, id_made: false, timed: true, trimmed: true });
    }

    #[test]
    fn the_kinds_of_an_export_become_what_makes_them_again() {
        let reversal = r#"{"kind":"operation","operationId":"r","userId":"u","reverses":"o","reason":"twice"}"#;
        let body = r#"{"operationId":"r","reason":"twice"}"#.to_owned();
        is(reversal, &Step::Reverse { user: "u".into(), original: "o".into(), body });
        let user = r#"{"kind":"user","userId":"u","plan":null,"email":"a@b","overrides":{"cost":null}}"#;
        let body = r#"{"email":"a@b","limits":{"cost":null}}"#.to_owned();
        is(user, &Step::User { user: "u".into(), body });
        is(r#"{"kind":"denial"}"#, &Step::Skip(Skipped::Denial));
        for bad in [r#"{"kind":"users"}"#, r#"{"kind":7}"#, r#"{"kind":"user"}"#, "[]", "7"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_opened_if_it_runs_or_was_abandoned_by_its_hold_or_its_steps() {
        let session = |status: &str, expires: &str, updated: &str, steps: u64| {
            step(&format!(
                r#"{{"kind":"session","userId":"u","sessionId":"s","feature":"f","status":"{status}","held":{{"cost":1}},"holdExpiresAt":{expires},"lastUpdatedAt":"{updated}","stepCount":{steps},"estimate":{{"cost":2}},"metadata":{{"k":1}}}}"#
            ))
        };
        let (past, future) = ("\"2025-10-13T18:00:00Z\"", "\"2025-10-13T18:01:30Z\"");
        let (today, long_ago) = ("2025-10-13T17:00:00Z", "2025-10-12T18:00:00Z");
        for (status, expires, updated, steps, runs) in [
            ("in-progress", future, today, 0, true),
            ("in-progress", past, today, 1, false),
            ("in-progress", "null", long_ago, 1, false),
            ("abandoned", future, today, 1, false),
        ] {
            let step = session(status, expires, updated, steps);
            assert!(matches!(&step, Ok(Step::Open(opening)) if opening.runs() == runs), "{status} {expires} {step:?}");
        }
        for (status, expires, steps, skipped) in [
            ("in-progress", "null", 1, Skipped::Session),
            ("in-progress", past, 0, Skipped::Unused),
            ("abandoned", past, 0, Skipped::Unused),
        ] {
            let step = session(status, expires, today, steps);
            assert!(matches!(&step, Ok(Step::Skip(why)) if *why == skipped), "{status} {expires} {step:?}");
        }
        assert!(matches!(session("completed", past, today, 1), Ok(Step::Finish { .. })));
        for (status, expires) in [("ended", past), ("in-progress", "\"soon\"")] {
            assert!(session(status, expires, today, 1).is_err(), "{status} {expires}");
        }
    }

    #[test]
    fn an_id_goes_in_front_of_what_is_there() {
        assert_eq!(with_id(b"{}", "x"), br#"{"operationId":"x"}"#);
        assert_eq!(with_id(br#" { "a": 1}"#, "x"), br#"{"operationId":"x","a": 1}"#);
    }

    #[test]
    fn cells_become_what_their_field_is() {
        let json = |name, cell| csv_value(name, cell).get().to_owned();
        assert_eq!(json("isBillableRun", "TRUE"), "true");
        assert_eq!(json("isBillableRun", "perhaps"), "\"perhaps\"");
        assert_eq!(json("cost", "0.00010785"), "\"0.00010785\"");
        assert_eq!(json("durationMs", "12"), "12");
        assert_eq!(json("durationMs", "-12"), "\"-12\"");
        assert_eq!(json("metadata", "{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(json("metadata", "{"), "\"{\"");
    }

    #[test]
    fn the_same_content_gives_the_same_ids_and_another_one_others() {
        let folder = tempfile::tempdir().unwrap();
        let id = |text: &str, line| {
            let path = folder.path().join("rows");
            std::fs::write(&path, text).unwrap();
            Content::of(&path).operation_id(line).unwrap()
        };
        assert_eq!(id("a", 1), id("a", 1));
        assert_ne!(id("a", 1), id("a", 2));
        assert_ne!(id("a", 1), id("b", 1));
    }
}
