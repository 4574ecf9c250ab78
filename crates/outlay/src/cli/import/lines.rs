//! Reads a JSON Lines file in the order in which it is to be done.
//!
//! An export lists sessions and operations newest first. They are recorded oldest first, so that steps, reversals and
//! pages come in their old order; that is why a run of operations is read backward from the file instead of being kept in
//! memory. A session is opened at its old place between them, where what was used is what was used then.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use outlay_core::month::Timestamp;
use serde::Deserialize;

use super::holds::Opening;
use super::rows::{Content, Row, Step, row_of};
use super::{Failure, Importing};

/// The longest line that can be a row; what is longer is no file of rows.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// Reads a JSON Lines file.
pub(super) async fn json_lines(path: &Path, now: Timestamp, importing: &mut Importing<'_>) -> Result<(), Failure> {
    let reading = || format!("read {}", path.display());
    let mut reader = BufReader::new(File::open(path).map_err(Failure::io(reading()))?);
    let file = File::open(path).map_err(Failure::io(reading()))?;
    let mut lines = Lines { file, now, run: Vec::new(), user: None, opens: VecDeque::new(), open: BTreeMap::new() };
    let mut content = Content::of(path);
    let mut finishes = Vec::new();
    let (mut offset, mut number) = (0_u64, 0_u64);
    loop {
        let mut line = Vec::new();
        let limited = &mut reader.by_ref().take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line).map_err(Failure::io(reading()))? as u64;
        if read == 0 {
            break;
        }
        number += 1;
        if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            let advice = "an array is turned into lines by `jq -c '.[]'`";
            return Err(Failure::Other(format!("line {number} is longer than any row can be; {advice}")));
        }
        if number == 1 && line.trim_ascii_start().first() == Some(&b'[') {
            return Err(Failure::Other("the file is a JSON array; `jq -c '.[]'` makes lines of it".to_owned()));
        }
        let place = Place { offset, bytes: read, line: number };
        offset += read;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let about = serde_json::from_slice::<About<'_>>(&line).unwrap_or_default();
        match about.kind.as_deref() {
            Some("operation") => {
                if lines.user.as_deref() != about.user_id.as_deref() && !lines.run.is_empty() {
                    lines.replay(&mut content, importing).await?;
                }
                lines.user = about.user_id.map(Cow::into_owned);
                lines.run.push(place);
                continue;
            }
            // Sessions come before their steps.
            Some("session") if lines.run.is_empty() => {}
            kind => {
                lines.replay(&mut content, importing).await?;
                if kind == Some("user") {
                    take_all(&mut finishes, importing).await?;
                }
            }
        }
        let row = row_of(number, line.trim_ascii(), now, &mut content).map_err(Failure::io(reading()))?;
        match row.step {
            // The newest one comes first in the file.
            Ok(Step::Open(opening)) => {
                lines.opens.push_front(Open {
                    line: row.line,
                    original: row.original,
                    to_come: opening.steps,
                    opening,
                });
            }
            // Its steps come after it in the file, and are recorded before it ends.
            Ok(Step::Finish { .. }) => finishes.push(row),
            _ => importing.take(row).await?,
        }
        importing.reached(offset);
    }
    lines.replay(&mut content, importing).await?;
    take_all(&mut finishes, importing).await
}

async fn take_all(rows: &mut Vec<Row>, importing: &mut Importing<'_>) -> Result<(), Failure> {
    for row in rows.drain(..) {
        importing.take(row).await?;
    }
    Ok(())
}

/// What tells where a line belongs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct About<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recorded_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reverses: Option<Cow<'a, str>>,
}

/// Where a line is in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    bytes: u64,
    line: u64,
}

/// A session that is opened between operations.
pub(super) struct Open {
    pub(super) line: u64,
    pub(super) original: Vec<u8>,
    pub(super) opening: Box<Opening>,
    /// How many of its steps are still to come.
    to_come: u64,
}

/// Lines of one user that wait to be done in their old order.
struct Lines {
    file: File,
    now: Timestamp,
    /// Operations, to be read backward.
    run: Vec<Place>,
    user: Option<String>,
    /// Sessions to be opened, the oldest first.
    opens: VecDeque<Open>,
    /// Sessions that are open and whose steps are still coming.
    open: BTreeMap<String, Open>,
}

impl Lines {
    async fn replay(&mut self, content: &mut Content<'_>, importing: &mut Importing<'_>) -> Result<(), Failure> {
        let mut waiting: BTreeSet<String> = self.opens.iter().map(|open| open.opening.session.clone()).collect();
        for place in std::mem::take(&mut self.run).into_iter().rev() {
            let again = || Failure::io("read the file again");
            let mut line = vec![0; usize::try_from(place.bytes).unwrap_or_default()];
            self.file.read_exact_at(&mut line, place.offset).map_err(again())?;
            let has_sessions = !self.opens.is_empty() || !self.open.is_empty();
            let about: About<'_> =
                if has_sessions { serde_json::from_slice(&line).unwrap_or_default() } else { About::default() };
            let recorded_at = about.recorded_at.as_deref().and_then(|text| Timestamp::parse(text).ok());
            // A clock may have gone back: a session is opened before its first step in any case.
            while let Some(next) = self.opens.front()
                && (next.opening.created_at <= recorded_at
                    || about.session_id.as_deref().is_some_and(|session| waiting.contains(session)))
            {
                waiting.remove(&next.opening.session);
                self.open_next(importing).await?;
            }
            let row = row_of(place.line, line.trim_ascii(), self.now, content).map_err(again())?;
            importing.take(row).await?;
            if about.reverses.is_none()
                && let Some(session) = about.session_id.as_deref()
                && let Some(open) = self.open.get_mut(session)
            {
                open.to_come = open.to_come.saturating_sub(1);
                if open.to_come == 0
                    && let Some(open) = self.open.remove(session)
                {
                    importing.settle(open).await?;
                }
            }
            importing.reached(place.offset);
        }
        while !self.opens.is_empty() {
            self.open_next(importing).await?;
        }
        for (_, open) in std::mem::take(&mut self.open) {
            importing.settle(open).await?;
        }
        Ok(())
    }

    async fn open_next(&mut self, importing: &mut Importing<'_>) -> Result<(), Failure> {
        let Some(open) = self.opens.pop_front() else { return Ok(()) };
        match importing.open(open).await? {
            Some(open) if open.to_come == 0 => importing.settle(open).await,
            Some(open) => {
                self.open.insert(open.opening.session.clone(), open);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
