//! Sums that nothing is decided by: day sums of a user and of a bucket, and those of the sessions opened on a day. A batch
//! adds what it changed; the bucket's lock makes that exact.

use std::collections::BTreeMap;

use outlay_core::breakdown::{Dimensions, Sums, TokenSums};
use outlay_core::id::{Name, UserNo};
use outlay_core::money::UsdSum;
use outlay_core::month::Day;
use outlay_core::operation::{Operation, UsageType};
use outlay_core::session::Session;

use super::names::Names;
use super::rows::{RowReader, Rows, damaged, stored};
use super::statements::Table;
use crate::store::StoreError;
use crate::store::packed::status_no;

pub(super) const BREAKDOWN: Table = Table {
    name: "breakdown",
    keys: &["bucket", "user_no", "month", "day", "usage_type", "feature", "provider", "model"],
    columns: "bucket int8, user_no int8, month int8, day int8, usage_type int8, feature text, provider text, model text, \
              cost numeric, operations int8, runs int8, input int8, output int8",
};

pub(super) const BUCKET_DAY: Table = Table {
    name: "bucket_day",
    keys: &["bucket", "day", "usage_type", "feature", "provider", "model"],
    columns: "bucket int8, day int8, usage_type int8, feature text, provider text, model text, cost numeric, \
              operations int8, runs int8, input int8, output int8",
};

pub(super) const SESSION_DAY: Table = Table {
    name: "session_day",
    keys: &["bucket", "day", "feature", "status"],
    columns: "bucket int8, day int8, feature text, status int8, count int8, cost numeric, steps int8, duration_ms int8",
};

/// What stands for an absent model: a name is never empty.
pub(super) const NO_MODEL: &str = "";

type Combination<'a> = (UsageType, &'a str, &'a str, &'a str);

/// Sums over sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SessionSums {
    pub(super) count: i64,
    pub(super) cost: i128,
    pub(super) steps: i64,
    pub(super) duration_ms: i64,
}

impl SessionSums {
    /// What one session adds to its day.
    pub(super) fn of(session: &Session) -> Self {
        let duration = session.completed_at.map_or(0, |end| (end.nanos() - session.created_at.nanos()) / 1_000_000);
        Self {
            count: 1,
            cost: session.total_cost.picos(),
            steps: stored(session.steps),
            duration_ms: i64::try_from(duration.max(0)).unwrap_or(i64::MAX),
        }
    }

    pub(super) fn add(&mut self, other: Self, sign: i64) {
        self.count += sign * other.count;
        self.cost += i128::from(sign) * other.cost;
        self.steps += sign * other.steps;
        self.duration_ms += sign * other.duration_ms;
    }
}

/// What a batch adds.
#[derive(Debug, Default)]
pub(super) struct Added<'a> {
    users: BTreeMap<(i32, UserNo, Day, Combination<'a>), Sums>,
    buckets: BTreeMap<(i32, Day, Combination<'a>), Sums>,
    sessions: BTreeMap<(i32, Day, &'a str, i64), SessionSums>,
}

impl<'a> Added<'a> {
    pub(super) fn operation(&mut self, bucket: i32, operation: &'a Operation, names: &Names) {
        let (feature, provider, model) = names.of(operation);
        let combination = (operation.usage_type, feature, provider, model);
        self.day(bucket, operation.user_no, operation.timestamp.day(), combination, &Sums::of(operation));
    }

    /// Adds sums that no operation tells of.
    pub(super) fn sums(&mut self, bucket: i32, user_no: UserNo, day: Day, of: &'a Dimensions, sums: &Sums) {
        let model = of.model.as_ref().map_or(NO_MODEL, Name::as_str);
        self.day(bucket, user_no, day, (of.usage_type, of.feature.as_str(), of.provider.as_str(), model), sums);
    }

    fn day(&mut self, bucket: i32, user_no: UserNo, day: Day, combination: Combination<'a>, sums: &Sums) {
        for row in [
            self.users.entry((bucket, user_no, day, combination)).or_default(),
            self.buckets.entry((bucket, day, combination)).or_default(),
        ] {
            *row = row.and(sums);
        }
    }

    /// Takes what a session was out of the sums, and puts in what it is.
    pub(super) fn session(&mut self, bucket: i32, before: Option<&'a Session>, after: &'a Session) {
        for (session, sign) in before.into_iter().map(|before| (before, -1)).chain([(after, 1)]) {
            let key = (bucket, session.created_at.day(), session.feature.as_str(), status_no(session.status));
            self.sessions.entry(key).or_default().add(SessionSums::of(session), sign);
        }
    }

    pub(super) fn breakdown(&self) -> Rows<'a> {
        let mut rows = Rows::default();
        for ((bucket, user_no, day, combination), sums) in &self.users {
            rows.int(i64::from(*bucket)).number(user_no.0).int(i64::from(day.month().index()));
            write_sums(rows.int(i64::from(day.index())), combination, sums);
        }
        rows
    }

    pub(super) fn bucket_days(&self) -> Rows<'a> {
        let mut rows = Rows::default();
        for ((bucket, day, combination), sums) in &self.buckets {
            write_sums(rows.int(i64::from(*bucket)).int(i64::from(day.index())), combination, sums);
        }
        rows
    }

    pub(super) fn session_days(&self) -> Rows<'a> {
        let mut rows = Rows::default();
        for ((bucket, day, feature, status), sums) in &self.sessions {
            rows.int(i64::from(*bucket)).int(i64::from(day.index())).text(Some(feature)).int(*status);
            rows.int(sums.count).wide(sums.cost).int(sums.steps).int(sums.duration_ms).end();
        }
        rows
    }
}

fn write_sums<'a>(rows: &mut Rows<'a>, combination: &Combination<'a>, sums: &Sums) {
    let (usage_type, feature, provider, model) = combination;
    rows.int(i64::from(*usage_type == UsageType::Api)).text(Some(feature)).text(Some(provider)).text(Some(model));
    rows.wide(sums.cost.picos()).number(sums.operations).int(sums.billable_runs);
    rows.number(sums.tokens.input).number(sums.tokens.output).end();
}

/// Columns of a day's sums, from the day on.
pub(super) const DAY_COLUMNS: &str =
    "t.day, t.usage_type, t.feature, t.provider, t.model, t.cost, t.operations, t.runs, t.input, t.output";

/// Reads [`DAY_COLUMNS`].
pub(super) fn read_day(row: &mut RowReader<'_>) -> Result<(Day, Dimensions, Sums), StoreError> {
    let day = row.day()?;
    let usage_type = match row.required()? {
        0 => UsageType::Ai,
        1 => UsageType::Api,
        _ => return Err(damaged("a usage type")),
    };
    let dimensions = Dimensions {
        usage_type,
        feature: Name::from_stored(row.required_text()?),
        provider: Name::from_stored(row.required_text()?),
        model: Some(row.required_text()?).filter(|model| *model != NO_MODEL).map(Name::from_stored),
    };
    let sums = Sums {
        cost: UsdSum::from_picos(row.wide()?),
        operations: row.number()?,
        billable_runs: row.required()?,
        tokens: TokenSums { input: row.number()?, output: row.number()? },
    };
    Ok((day, dimensions, sums))
}
