//! Rows of the file, from and to the rows of the core.
//!
//! Times are nanoseconds since the epoch, and sums picodollars, as SQLite integers; what an `i64` does not hold (a year
//! before 1678, a sum above nine million USD) is decimal text instead, which the same column takes.

mod delivery;

use std::sync::Arc;

use outlay_core::alert::{Alert, AlertKey};
use outlay_core::denial::Denial;
use outlay_core::id::{AlertNo, DenialNo, Label, Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::money::{Usd, UsdSum};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::{Fingerprint, Operation};
use outlay_core::plan::{Amounts, Limit, Limits, Meter, Overrides};
use outlay_core::session::{Hold, Session};
use outlay_core::user::{User, UserMonth};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row};
use xxhash_rust::xxh3::xxh3_64;

use super::names::{Kind, Names};
use crate::store::StoreError;
pub(super) use crate::store::packed::delivery::{
    delivery_state_no, event_kind_no, read_delivery_state, read_event_kind, read_receiver, receiver_no,
};
use crate::store::packed::{
    ask_text, damaged, failed_bits, meter_no, months_text, operation_flags, raised_text, read_ask, read_failed,
    read_flags, read_meter, read_months, read_raised, read_reason, read_source, read_tokens, read_units,
    reason_columns, source_no, tokens_text, units_text,
};
pub(super) use crate::store::packed::{read_status, status_no};
pub(super) use delivery::{DELIVERY_COLUMNS, read_delivery};

/// A number as SQLite keeps it. Numbers of rows count up from 1 and never reach the sign.
pub(super) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// Binds the columns of one row, and sums them up on the way.
pub(super) struct RowWriter<'a, 'c> {
    statement: &'a mut CachedStatement<'c>,
    bytes: &'a mut Vec<u8>,
    column: usize,
}

impl<'a, 'c> RowWriter<'a, 'c> {
    pub(super) fn new(statement: &'a mut CachedStatement<'c>, bytes: &'a mut Vec<u8>) -> Self {
        bytes.clear();
        Self { statement, bytes, column: 0 }
    }

    fn bind(&mut self, value: ValueRef<'_>) -> rusqlite::Result<&mut Self> {
        add_to_sum(self.bytes, value);
        self.column += 1;
        self.statement.raw_bind_parameter(self.column, rusqlite::types::ToSqlOutput::Borrowed(value))?;
        Ok(self)
    }

    pub(super) fn int(&mut self, value: impl Into<Option<i64>>) -> rusqlite::Result<&mut Self> {
        self.bind(value.into().map_or(ValueRef::Null, ValueRef::Integer))
    }

    pub(super) fn number(&mut self, value: u64) -> rusqlite::Result<&mut Self> {
        self.int(stored(value))
    }

    pub(super) fn text<'t>(&mut self, value: impl Into<Option<&'t str>>) -> rusqlite::Result<&mut Self> {
        self.bind(value.into().map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())))
    }

    pub(super) fn blob(&mut self, value: &[u8]) -> rusqlite::Result<&mut Self> {
        self.bind(ValueRef::Blob(value))
    }

    pub(super) fn wide(&mut self, value: i128) -> rusqlite::Result<&mut Self> {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.text(value.to_string().as_str()),
        }
    }

    pub(super) fn time(&mut self, value: impl Into<Option<Timestamp>>) -> rusqlite::Result<&mut Self> {
        match value.into() {
            Some(time) => self.wide(time.nanos()),
            None => self.int(None),
        }
    }

    fn amounts(&mut self, amounts: Option<&Amounts>) -> rusqlite::Result<&mut Self> {
        for meter in Meter::ALL {
            self.int(amounts.map(|amounts| *amounts.get(meter)))?;
        }
        Ok(self)
    }

    /// Writes the row.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        self.statement.raw_execute().map(|_| ())
    }

    /// Writes the row with the sum over its columns as the last one.
    pub(super) fn write_with_sum(&mut self) -> rusqlite::Result<()> {
        let sum = xxh3_64(self.bytes).cast_signed();
        self.statement.raw_bind_parameter(self.column + 1, sum)?;
        self.write()
    }
}

pub(super) fn add_to_sum(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    let (tag, content): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => {
            bytes.push(1);
            bytes.extend_from_slice(&number.to_le_bytes());
            return;
        }
        ValueRef::Real(number) => {
            bytes.push(2);
            bytes.extend_from_slice(&number.to_le_bytes());
            return;
        }
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    bytes.push(tag);
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(content);
}

/// The sum over all columns of a row but the last, and the sum that the last one holds.
pub(super) fn sums_of(row: &Row<'_>, bytes: &mut Vec<u8>) -> rusqlite::Result<(i64, i64)> {
    bytes.clear();
    let last = row.as_ref().column_count() - 1;
    for column in 0..last {
        add_to_sum(bytes, row.get_ref(column)?);
    }
    let written = match row.get_ref(last)? {
        ValueRef::Integer(sum) => sum,
        _ => !xxh3_64(bytes).cast_signed(),
    };
    Ok((xxh3_64(bytes).cast_signed(), written))
}

/// Reads the columns of one row from the first on.
pub(super) struct RowReader<'a, 'r> {
    row: &'a Row<'r>,
    column: usize,
}

impl<'a, 'r> RowReader<'a, 'r> {
    pub(super) fn new(row: &'a Row<'r>) -> Self {
        Self::at(row, 0)
    }

    pub(super) fn at(row: &'a Row<'r>, column: usize) -> Self {
        Self { row, column }
    }

    fn next(&mut self) -> Result<ValueRef<'a>, StoreError> {
        let value = self.row.get_ref(self.column)?;
        self.column += 1;
        Ok(value)
    }

    pub(super) fn int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            _ => Err(damaged("an integer column")),
        }
    }

    pub(super) fn required(&mut self) -> Result<i64, StoreError> {
        self.int()?.ok_or_else(|| damaged("a required column"))
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        Ok(self.required()?.cast_unsigned())
    }

    fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        Ok(self.int()?.map(i64::cast_unsigned))
    }

    pub(super) fn text(&mut self) -> Result<Option<&'a str>, StoreError> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| damaged("a text column")),
            _ => Err(damaged("a text column")),
        }
    }

    pub(super) fn required_text(&mut self) -> Result<&'a str, StoreError> {
        self.text()?.ok_or_else(|| damaged("a required text column"))
    }

    fn shared_text(&mut self) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.text()?.map(Arc::from))
    }

    pub(super) fn blob<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        match self.next()? {
            ValueRef::Blob(blob) => blob.try_into().map_err(|_| damaged("a blob column")),
            _ => Err(damaged("a blob column")),
        }
    }

    fn optional_wide(&mut self) -> Result<Option<i128>, StoreError> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number.into())),
            ValueRef::Text(text) => {
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                number.map(Some).ok_or_else(|| damaged("a wide integer column"))
            }
            _ => Err(damaged("a wide integer column")),
        }
    }

    pub(super) fn wide(&mut self) -> Result<i128, StoreError> {
        self.optional_wide()?.ok_or_else(|| damaged("a required wide column"))
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.optional_wide()?
            .map(|nanos| Timestamp::from_nanos(nanos).map_err(|_| damaged("a time column")))
            .transpose()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.optional_time()?.ok_or_else(|| damaged("a required time column"))
    }

    pub(super) fn month(&mut self) -> Result<Month, StoreError> {
        u32::try_from(self.required()?).map(Month::from_index).map_err(|_| damaged("a month column"))
    }

    fn amounts(&mut self) -> Result<Amounts, StoreError> {
        Ok(Amounts {
            cost: self.int()?.unwrap_or(0),
            ai_runs: self.int()?.unwrap_or(0),
            api_runs: self.int()?.unwrap_or(0),
        })
    }

    fn name_of(&mut self, names: &Names, kind: Kind) -> Result<Option<Name>, StoreError> {
        let no = self.required()?;
        names.text(kind, no)
    }

    fn required_name(&mut self, names: &Names, kind: Kind) -> Result<Name, StoreError> {
        self.name_of(names, kind)?.ok_or_else(|| damaged("a name column"))
    }
}

/// Columns of `operation` in order, without the sum, then what other rows say of it.
pub(super) const OPERATION_COLUMNS: &str = "o.no, o.user, o.operation_id, o.fingerprint, o.flags, o.feature, o.provider, o.model, o.cost, o.tokens, \
     o.units, o.session, o.position, o.step_label, o.step_number, o.duration_ms, o.at, o.recorded_at, o.metadata, \
     o.reverses, o.reason, o.reversed_by, o.previous, o.previous_step, \
     (select s.session_id from session s where s.no = o.session), \
     (select r.operation_id from operation r where r.no = o.reverses), \
     (select r.operation_id from operation r where r.no = o.reversed_by)";

pub(super) const INSERT_OPERATION: &str =
    "insert into operation values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

pub(super) const REPLACE_OPERATION: &str =
    "replace into operation values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

/// Places of columns in `operation`: of the flags, of what retention empties, and of when it was recorded.
pub(super) const OPERATION_FLAGS: usize = 4;
pub(super) const OPERATION_DETAILS: [usize; 6] = [9, 10, 13, 15, 18, 20];
pub(super) const OPERATION_RECORDED_AT: usize = 17;

pub(super) fn write_operation(
    row: &mut RowWriter<'_, '_>,
    operation: &Operation,
    names: &Names,
) -> Result<(), StoreError> {
    let flags = operation_flags(operation);
    let tokens = operation.tokens.as_ref().map(tokens_text);
    let units = operation.units.as_deref().map(units_text).transpose()?;
    row.number(operation.no.0)?.number(operation.user_no.0)?;
    row.text(operation.operation_id.as_str())?.blob(&operation.fingerprint.0)?.int(flags)?;
    row.int(names.no(Kind::Feature, Some(&operation.feature)))?;
    row.int(names.no(Kind::Provider, Some(&operation.provider)))?;
    row.int(names.no(Kind::Model, operation.model.as_ref()))?;
    row.int(operation.cost.picos())?.text(tokens.as_deref())?.text(units.as_deref())?;
    row.int(operation.session.as_ref().map(|(no, _)| stored(no.0)))?.number(operation.step_position)?;
    row.text(operation.step_label.as_ref().map(Label::as_str))?.int(operation.step_number)?;
    row.int(operation.duration_ms.map(stored))?.time(operation.timestamp)?.time(operation.recorded_at)?;
    row.text(operation.metadata.as_deref())?;
    row.int(operation.reverses.as_ref().map(|(no, _)| stored(no.0)))?;
    row.text(operation.reason.as_ref().map(Label::as_str))?;
    row.int(operation.reversed_by.as_ref().map(|(no, _)| stored(no.0)))?;
    row.int(operation.previous_in_month.map(|no| stored(no.0)))?;
    row.int(operation.previous_in_session.map(|no| stored(no.0)))?;
    row.write_with_sum()?;
    Ok(())
}

/// The number of the feature of a whole row of `session`.
pub(super) fn feature_of(row: &Row<'_>) -> Result<i64, StoreError> {
    RowReader::at(row, 3).required()
}

/// Reads a whole row of `operation`, without what other rows say of it: the ids of its session and of its original or
/// reversal are empty.
pub(super) fn read_plain_operation(row: &Row<'_>, names: &Names) -> Result<Operation, StoreError> {
    read_operation_columns(row, names, false)
}

/// Reads [`OPERATION_COLUMNS`].
pub(super) fn read_operation(row: &Row<'_>, names: &Names) -> Result<Operation, StoreError> {
    read_operation_columns(row, names, true)
}

fn read_operation_columns(row: &Row<'_>, names: &Names, joined: bool) -> Result<Operation, StoreError> {
    let mut row = RowReader::new(row);
    let no = OperationNo(row.number()?);
    let user_no = UserNo(row.number()?);
    let operation_id = OperationId::from_stored(row.required_text()?);
    let fingerprint = Fingerprint(row.blob()?);
    let flags = read_flags(row.required()?);
    let feature = row.required_name(names, Kind::Feature)?;
    let provider = row.required_name(names, Kind::Provider)?;
    let model = row.name_of(names, Kind::Model)?;
    let cost = Usd::from_picos(row.required()?);
    let tokens = row.text()?.map(read_tokens).transpose()?;
    let units = row.text()?.map(read_units).transpose()?;
    let session_no = row.optional_number()?;
    let step_position = row.number()?;
    let step_label = row.text()?.map(Label::from_stored);
    let step_number = row.int()?;
    let duration_ms = row.optional_number()?;
    let timestamp = row.time()?;
    let recorded_at = row.time()?;
    let metadata = row.shared_text()?;
    let reverses = row.optional_number()?;
    let reason = row.text()?.map(Label::from_stored);
    let reversed_by = row.optional_number()?;
    let previous_in_month = row.optional_number()?.map(OperationNo);
    let previous_in_session = row.optional_number()?.map(OperationNo);
    let mut joined_text = || if joined { row.text() } else { Ok(Some("")) };
    let session_id = joined_text()?.map(SessionId::from_stored);
    let reverses_id = joined_text()?.map(OperationId::from_stored);
    let reversed_by_id = joined_text()?.map(OperationId::from_stored);
    Ok(Operation {
        no,
        user_no,
        operation_id,
        fingerprint,
        usage_type: flags.usage_type,
        feature,
        provider,
        model,
        cost,
        tokens,
        units,
        is_billable_run: flags.is_billable_run,
        session: session_no.map(SessionNo).zip(session_id),
        step_position,
        step_label,
        step_number,
        finish_session: flags.finish_session,
        duration_ms,
        timestamp,
        recorded_at,
        metadata,
        reverses: reverses.map(OperationNo).zip(reverses_id),
        reason,
        reversed_by: reversed_by.map(OperationNo).zip(reversed_by_id),
        previous_in_month,
        previous_in_session,
        trimmed: flags.trimmed,
    })
}

pub(super) const USER_COLUMNS: &str = "no, tag, user_id, plan, email, limit_cost, limit_ai_runs, limit_api_runs, months, last_session, last_denial, \
     last_alert, created_at";

/// What lists over all users need of a user.
pub(super) const ROSTER_COLUMNS: &str = "no, user_id, plan, limit_cost, limit_ai_runs, limit_api_runs";

pub(super) const UPSERT_USER: &str = "insert into user values (?,?,?,?,?,?,?,?,?,?,?,?,?,?) on conflict (no) do update set plan = excluded.plan, \
     email = excluded.email, limit_cost = excluded.limit_cost, limit_ai_runs = excluded.limit_ai_runs, \
     limit_api_runs = excluded.limit_api_runs, months = excluded.months, last_session = excluded.last_session, \
     last_denial = excluded.last_denial, last_alert = excluded.last_alert, sum = excluded.sum";

pub(super) const REPLACE_USER: &str = "replace into user values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

/// What stands in the column of an override that is unlimited; none follows the plan.
const UNLIMITED: &str = "unlimited";

pub(super) fn write_user(row: &mut RowWriter<'_, '_>, user: &User) -> Result<(), StoreError> {
    let user_id = Some(user.user_id.as_str()).filter(|user_id| !user_id.is_empty());
    row.number(user.no.0)?.number(user.tag)?.text(user_id)?;
    row.text(user.plan.as_ref().map(Name::as_str))?.text(user.email.as_deref())?;
    for meter in Meter::ALL {
        match user.overrides.get(meter) {
            None => row.int(None)?,
            Some(None) => row.text(UNLIMITED)?,
            Some(Some(limit)) => row.int(*limit)?,
        };
    }
    row.text(months_text(&user.months).as_str())?;
    row.int(user.last_session.map(|no| stored(no.0)))?;
    row.int(user.last_denial.map(|no| stored(no.0)))?;
    row.int(user.last_alert.map(|no| stored(no.0)))?;
    row.time(user.created_at)?.write_with_sum()?;
    Ok(())
}

/// Reads a user; an erased one has an empty id.
pub(super) fn read_user(row: &Row<'_>) -> Result<User, StoreError> {
    let mut row = RowReader::new(row);
    Ok(User {
        no: UserNo(row.number()?),
        tag: row.number()?,
        user_id: UserId::from_stored(row.text()?.unwrap_or_default()),
        plan: row.text()?.map(Name::from_stored),
        email: row.shared_text()?,
        overrides: read_overrides(&mut row)?,
        months: read_months(row.required_text()?)?,
        last_session: row.optional_number()?.map(SessionNo),
        last_denial: row.optional_number()?.map(DenialNo),
        last_alert: row.optional_number()?.map(AlertNo),
        created_at: row.time()?,
    })
}

pub(super) fn read_overrides(row: &mut RowReader<'_, '_>) -> Result<Overrides, StoreError> {
    Ok(Overrides { cost: read_override(row)?, ai_runs: read_override(row)?, api_runs: read_override(row)? })
}

fn read_override(row: &mut RowReader<'_, '_>) -> Result<Option<Limit>, StoreError> {
    match row.next()? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(limit) => Ok(Some(Some(limit))),
        ValueRef::Text(text) if text == UNLIMITED.as_bytes() => Ok(Some(None)),
        _ => Err(damaged("a limit")),
    }
}

pub(super) const MONTH_COLUMNS: &str = "month, cost, ai_runs, api_runs, operations, head, raised, updated_at";

pub(super) const UPSERT_MONTH: &str = "insert into user_month values (?,?,?,?,?,?,?,?,?,?,?) on conflict (month, user) do update set cost = excluded.cost, \
     ai_runs = excluded.ai_runs, api_runs = excluded.api_runs, operations = excluded.operations, head = excluded.head, \
     raised = excluded.raised, updated_at = excluded.updated_at, day = coalesce(excluded.day, day), \
     day_sums = coalesce(excluded.day_sums, day_sums)";

/// Writes a user's month, with its newest day and that day's packed sums as far as they changed.
pub(super) fn write_month(
    row: &mut RowWriter<'_, '_>,
    user_no: UserNo,
    month: &UserMonth,
    newest: Option<(Day, &str)>,
) -> Result<(), StoreError> {
    row.int(i64::from(month.month.index()))?.number(user_no.0)?.amounts(Some(&month.used))?;
    row.number(month.operations)?.int(month.head.map(|no| stored(no.0)))?;
    row.text(raised_text(&month.raised).as_str())?.time(month.last_updated_at)?;
    row.int(newest.map(|(day, _)| i64::from(day.index())))?.text(newest.map(|(_, sums)| sums))?.write()?;
    Ok(())
}

pub(super) fn read_month(row: &Row<'_>) -> Result<UserMonth, StoreError> {
    read_month_from(&mut RowReader::new(row))
}

pub(super) fn read_month_from(row: &mut RowReader<'_, '_>) -> Result<UserMonth, StoreError> {
    Ok(UserMonth {
        month: row.month()?,
        used: row.amounts()?,
        operations: row.number()?,
        head: row.optional_number()?.map(OperationNo),
        raised: read_raised(row.required_text()?)?,
        last_updated_at: row.optional_time()?,
    })
}

pub(super) const SESSION_COLUMNS: &str = "no, user, session_id, feature, status, ask, choice, total_cost, total_ai_runs, total_api_runs, drawn_cost, \
     drawn_ai_runs, drawn_api_runs, first_month, last_month, expires_at, cost, runs, overdraft_cost, overdraft_ai_runs, \
     overdraft_api_runs, exceeded, error, metadata, created_at, updated_at, completed_at, due, steps, last_step, previous";

pub(super) const REPLACE_SESSION: &str =
    "replace into session values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

pub(super) fn write_session(row: &mut RowWriter<'_, '_>, session: &Session, names: &Names) -> Result<(), StoreError> {
    let hold = session.hold.as_ref();
    row.number(session.no.0)?.number(session.user_no.0)?.text(session.session_id.as_str())?;
    row.int(names.no(Kind::Feature, Some(&session.feature)))?.int(status_no(session.status))?;
    let ask = hold.map(|hold| ask_text(&hold.ask)).transpose()?;
    row.text(ask.as_deref())?.text(hold.and_then(|hold| hold.choice.as_ref()).map(Name::as_str))?;
    row.amounts(hold.map(|hold| &hold.total))?.amounts(hold.map(|hold| &hold.drawn))?;
    row.int(hold.map(|hold| i64::from(hold.first_month.index())))?;
    row.int(hold.map(|hold| i64::from(hold.last_month.index())))?.time(hold.map(|hold| hold.expires_at))?;
    row.wide(session.total_cost.picos())?.int(session.total_runs)?.amounts(Some(&session.overdraft))?;
    row.int(i64::from(session.budget_exceeded))?.text(session.error.as_ref().map(Label::as_str))?;
    row.text(session.metadata.as_deref())?.time(session.created_at)?.time(session.last_updated_at)?;
    row.time(session.completed_at)?.time(session.due)?.number(session.steps)?;
    row.int(session.last_step.map(|no| stored(no.0)))?.int(session.previous.map(|no| stored(no.0)))?;
    row.write_with_sum()?;
    Ok(())
}

pub(super) fn read_session(row: &Row<'_>, names: &Names) -> Result<Session, StoreError> {
    let mut row = RowReader::new(row);
    let no = SessionNo(row.number()?);
    let user_no = UserNo(row.number()?);
    let session_id = SessionId::from_stored(row.required_text()?);
    let feature = row.required_name(names, Kind::Feature)?;
    let status = read_status(row.required()?)?;
    let ask = row.text()?.map(read_ask).transpose()?;
    let choice = row.text()?.map(Name::from_stored);
    let total = row.amounts()?;
    let drawn = row.amounts()?;
    let mut month =
        || Ok::<_, StoreError>(row.int()?.and_then(|index| u32::try_from(index).ok()).map(Month::from_index));
    let (first_month, last_month) = (month()?, month()?);
    let expires_at = row.optional_time()?;
    let hold = match (ask, first_month.zip(last_month), expires_at) {
        (Some(ask), Some((first_month, last_month)), Some(expires_at)) => {
            Some(Hold { ask, choice, total, drawn, first_month, last_month, expires_at })
        }
        (None, None, None) => None,
        _ => return Err(damaged("a hold")),
    };
    Ok(Session {
        no,
        user_no,
        session_id,
        feature,
        status,
        hold,
        total_cost: UsdSum::from_picos(row.wide()?),
        total_runs: row.required()?,
        overdraft: row.amounts()?,
        budget_exceeded: row.required()? != 0,
        error: row.text()?.map(Label::from_stored),
        metadata: row.shared_text()?,
        created_at: row.time()?,
        last_updated_at: row.time()?,
        completed_at: row.optional_time()?,
        due: row.optional_time()?,
        steps: row.number()?,
        last_step: row.optional_number()?.map(OperationNo),
        previous: row.optional_number()?.map(SessionNo),
    })
}

pub(super) const DENIAL_COLUMNS: &str = "no, user, feature, session_id, ask, reason_kind, reason, failed, limit_cost, limit_ai_runs, limit_api_runs, \
     next_plan, times, source, metadata, recorded_at, previous";

pub(super) const REPLACE_DENIAL: &str = "replace into denial values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

pub(super) fn write_denial(row: &mut RowWriter<'_, '_>, denial: &Denial, names: &Names) -> Result<(), StoreError> {
    row.number(denial.no.0)?.number(denial.user_no.0)?;
    row.int(names.no(Kind::Feature, Some(&denial.feature)))?;
    row.text(denial.session_id.as_ref().map(SessionId::as_str))?.text(ask_text(&denial.ask)?.as_str())?;
    let (kind, reason) = reason_columns(&denial.reason);
    row.int(kind)?.text(reason)?.int(failed_bits(denial.failed))?;
    for meter in Meter::ALL {
        row.int(*denial.limits.get(meter))?;
    }
    row.text(denial.next_plan.as_ref().map(Name::as_str))?.number(denial.times)?;
    row.int(source_no(denial.source))?;
    row.text(denial.metadata.as_deref())?.time(denial.recorded_at)?;
    row.int(denial.previous.map(|no| stored(no.0)))?.write_with_sum()?;
    Ok(())
}

pub(super) fn read_denial(row: &Row<'_>, names: &Names) -> Result<Denial, StoreError> {
    let mut row = RowReader::new(row);
    let no = DenialNo(row.number()?);
    let user_no = UserNo(row.number()?);
    let feature = row.required_name(names, Kind::Feature)?;
    let session_id = row.text()?.map(SessionId::from_stored);
    let ask = read_ask(row.required_text()?)?;
    let (kind, text) = (row.required()?, row.text()?);
    let failed = row.required()?;
    Ok(Denial {
        no,
        user_no,
        feature,
        session_id,
        ask,
        reason: read_reason(kind, text)?,
        failed: read_failed(failed),
        limits: Limits { cost: row.int()?, ai_runs: row.int()?, api_runs: row.int()? },
        next_plan: row.text()?.map(Name::from_stored),
        times: row.number()?,
        source: read_source(row.required()?)?,
        metadata: row.shared_text()?,
        recorded_at: row.time()?,
        previous: row.optional_number()?.map(DenialNo),
    })
}

pub(super) const ALERT_COLUMNS: &str =
    "no, user, month, meter, threshold, limit_value, used, held, plan, next_plan, superseded_by, recorded_at, previous";

pub(super) const INSERT_ALERT: &str = "insert into alert values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

pub(super) fn write_alert(row: &mut RowWriter<'_, '_>, alert: &Alert) -> Result<(), StoreError> {
    row.number(alert.no.0)?.number(alert.user_no.0)?.int(i64::from(alert.month.index()))?;
    row.int(meter_no(alert.key.meter))?;
    row.int(i64::from(alert.key.threshold))?.int(alert.key.limit)?.int(alert.used)?.int(alert.held)?;
    row.text(alert.plan.as_str())?.text(alert.next_plan.as_ref().map(Name::as_str))?;
    row.int(alert.superseded_by.map(|no| stored(no.0)))?.time(alert.recorded_at)?;
    row.int(alert.previous.map(|no| stored(no.0)))?.write_with_sum()?;
    Ok(())
}

pub(super) fn read_alert(row: &Row<'_>) -> Result<Alert, StoreError> {
    let mut row = RowReader::new(row);
    Ok(Alert {
        no: AlertNo(row.number()?),
        user_no: UserNo(row.number()?),
        month: row.month()?,
        key: AlertKey {
            meter: read_meter(row.required()?)?,
            threshold: u8::try_from(row.required()?).map_err(|_| damaged("a threshold"))?,
            limit: row.required()?,
        },
        used: row.required()?,
        held: row.required()?,
        plan: Name::from_stored(row.required_text()?),
        next_plan: row.text()?.map(Name::from_stored),
        superseded_by: row.optional_number()?.map(AlertNo),
        recorded_at: row.time()?,
        previous: row.optional_number()?.map(AlertNo),
    })
}
