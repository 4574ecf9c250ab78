//! Rows of the tables, from and to the rows of the core; and for each table the names and types of its columns, of which
//! its statements are made.

use std::sync::Arc;

use outlay_core::alert::{Alert, AlertKey};
use outlay_core::denial::Denial;
use outlay_core::id::{AlertNo, DenialNo, Label, Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::money::{Usd, UsdSum};
use outlay_core::month::Month;
use outlay_core::operation::{Fingerprint, Operation};
use outlay_core::plan::{Limit, Limits, Meter, Overrides};
use outlay_core::session::{Hold, Session};
use outlay_core::user::{User, UserMonth};
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::rows::{RowReader, Rows, damaged, time};
use super::statements::Table;
use crate::store::StoreError;
use crate::store::packed::{
    ask_text, failed_bits, meter_no, months_text, operation_flags, raised_text, read_ask, read_failed, read_flags,
    read_meter, read_months, read_raised, read_reason, read_source, read_status, read_tokens, read_units,
    reason_columns, source_no, status_no, tokens_text, units_text,
};

pub(super) const USERS: Table = Table {
    name: "users",
    keys: &["bucket", "user_no"],
    columns: "bucket int8, user_no int8, user_id text, tag int8, plan text, email text, limit_cost text, \
              limit_ai_runs text, limit_api_runs text, months text, last_session int8, last_denial int8, \
              last_alert int8, created_at int8, sum int8",
};

/// What stands in the column of an override that is unlimited; none follows the plan.
const UNLIMITED: &str = "unlimited";

pub(super) fn write_user<'a>(rows: &mut Rows<'a>, bucket: i32, user: &'a User) {
    let user_id = Some(user.user_id.as_str()).filter(|user_id| !user_id.is_empty());
    rows.int(i64::from(bucket)).number(user.no.0).text(user_id).number(user.tag);
    rows.text(user.plan.as_ref().map(Name::as_str)).text(user.email.as_deref());
    for meter in Meter::ALL {
        rows.made(user.overrides.get(meter).map(|limit| match limit {
            None => UNLIMITED.to_owned(),
            Some(limit) => limit.to_string(),
        }));
    }
    rows.made(Some(months_text(&user.months))).optional_number(user.last_session.map(|no| no.0));
    rows.optional_number(user.last_denial.map(|no| no.0)).optional_number(user.last_alert.map(|no| no.0));
    rows.time(user.created_at).end_with_sum();
}

/// Reads a user; an erased one has an empty id.
pub(super) fn read_user(row: &mut RowReader<'_>) -> Result<User, StoreError> {
    row.required()?;
    Ok(User {
        no: UserNo(row.number()?),
        user_id: UserId::from_stored(row.text()?.unwrap_or_default()),
        tag: row.number()?,
        plan: row.text()?.map(Name::from_stored),
        email: row.text()?.map(Arc::from),
        overrides: Overrides { cost: read_override(row)?, ai_runs: read_override(row)?, api_runs: read_override(row)? },
        months: read_months(row.required_text()?)?,
        last_session: row.optional_number()?.map(SessionNo),
        last_denial: row.optional_number()?.map(DenialNo),
        last_alert: row.optional_number()?.map(AlertNo),
        created_at: row.time()?,
    })
}

fn read_override(row: &mut RowReader<'_>) -> Result<Option<Limit>, StoreError> {
    match row.text()? {
        None => Ok(None),
        Some(UNLIMITED) => Ok(Some(None)),
        Some(limit) => limit.parse().map(|limit| Some(Some(limit))).map_err(|_| damaged("a limit")),
    }
}

pub(super) const USER_MONTH: Table = Table {
    name: "user_month",
    keys: &["bucket", "user_no", "month"],
    columns: "bucket int8, user_no int8, month int8, cost int8, ai_runs int8, api_runs int8, operations int8, \
              head int8, raised text, updated_at int8",
};

pub(super) fn write_month(rows: &mut Rows<'_>, bucket: i32, user_no: UserNo, month: &UserMonth) {
    rows.int(i64::from(bucket)).number(user_no.0).int(i64::from(month.month.index())).amounts(Some(&month.used));
    rows.number(month.operations).optional_number(month.head.map(|no| no.0));
    rows.made(Some(raised_text(&month.raised))).time(month.last_updated_at).end();
}

pub(super) fn read_month(row: &mut RowReader<'_>) -> Result<(UserNo, UserMonth), StoreError> {
    row.required()?;
    let user_no = UserNo(row.number()?);
    let month = UserMonth {
        month: row.month()?,
        used: row.amounts()?,
        operations: row.number()?,
        head: row.optional_number()?.map(OperationNo),
        raised: read_raised(row.required_text()?)?,
        last_updated_at: row.optional_time()?,
    };
    Ok((user_no, month))
}

pub(super) const SESSION: Table = Table {
    name: "session",
    keys: &["bucket", "no"],
    columns: "bucket int8, no int8, user_no int8, session_id text, feature text, status int8, ask text, choice text, \
              total_cost int8, total_ai_runs int8, total_api_runs int8, drawn_cost int8, drawn_ai_runs int8, \
              drawn_api_runs int8, first_month int8, last_month int8, expires_at int8, cost numeric, runs int8, \
              overdraft_cost int8, overdraft_ai_runs int8, overdraft_api_runs int8, exceeded int8, error text, \
              metadata text, created_at int8, updated_at int8, completed_at int8, due int8, steps int8, \
              last_step int8, previous int8, sum int8",
};

pub(super) fn write_session<'a>(rows: &mut Rows<'a>, bucket: i32, session: &'a Session) -> Result<(), StoreError> {
    let hold = session.hold.as_ref();
    rows.int(i64::from(bucket)).number(session.no.0).number(session.user_no.0);
    rows.text(Some(session.session_id.as_str())).text(Some(session.feature.as_str())).int(status_no(session.status));
    rows.made(hold.map(|hold| ask_text(&hold.ask)).transpose()?);
    rows.text(hold.and_then(|hold| hold.choice.as_ref()).map(Name::as_str));
    rows.amounts(hold.map(|hold| &hold.total)).amounts(hold.map(|hold| &hold.drawn));
    rows.int(hold.map(|hold| i64::from(hold.first_month.index())));
    rows.int(hold.map(|hold| i64::from(hold.last_month.index()))).time(hold.map(|hold| hold.expires_at));
    rows.wide(session.total_cost.picos()).int(session.total_runs).amounts(Some(&session.overdraft));
    rows.int(i64::from(session.budget_exceeded)).text(session.error.as_ref().map(Label::as_str));
    rows.text(session.metadata.as_deref()).time(session.created_at).time(session.last_updated_at);
    rows.time(session.completed_at).time(session.due).number(session.steps);
    rows.optional_number(session.last_step.map(|no| no.0)).optional_number(session.previous.map(|no| no.0));
    rows.end_with_sum();
    Ok(())
}

pub(super) fn read_session(row: &mut RowReader<'_>) -> Result<Session, StoreError> {
    row.required()?;
    let no = SessionNo(row.number()?);
    let user_no = UserNo(row.number()?);
    let session_id = SessionId::from_stored(row.required_text()?);
    let feature = Name::from_stored(row.required_text()?);
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
        metadata: row.text()?.map(Arc::from),
        created_at: row.time()?,
        last_updated_at: row.time()?,
        completed_at: row.optional_time()?,
        due: row.optional_time()?,
        steps: row.number()?,
        last_step: row.optional_number()?.map(OperationNo),
        previous: row.optional_number()?.map(SessionNo),
    })
}

pub(super) const OP_KEY: Table = Table {
    name: "op_key",
    keys: &["bucket", "user_no", "op"],
    columns: "bucket int8, user_no int8, op bytea, no int8, month int8, fingerprint bytea, cost int8, recorded_in int8",
};

/// What stands for an operation's id where it is looked for.
pub(super) fn op_of(operation_id: &OperationId) -> [u8; 16] {
    let [op @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
        Sha256::digest(operation_id.as_str().as_bytes()).into();
    op
}

pub(super) fn write_op_key<'a>(rows: &mut Rows<'a>, bucket: i32, op: &'a [u8], operation: &'a Operation) {
    use outlay_core::operation::RecordedIn;
    rows.int(i64::from(bucket)).number(operation.user_no.0).blob(op).number(operation.no.0);
    rows.int(i64::from(operation.month().index())).blob(&operation.fingerprint.0).int(operation.cost.picos());
    rows.int(match operation.recorded_in() {
        RecordedIn::Session => 0,
        RecordedIn::AiUsage => 1,
        RecordedIn::ApiUsage => 2,
    });
    rows.end();
}

pub(super) const OPERATION: Table = Table {
    name: "operation",
    keys: &["bucket", "user_no", "no", "month"],
    columns: "bucket int8, user_no int8, no int8, month int8, operation_id text, fingerprint bytea, flags int8, \
              feature text, provider text, model text, cost int8, tokens text, units text, session_no int8, \
              session_id text, position int8, step_label text, step_number int8, duration_ms int8, at numeric, \
              recorded_at int8, metadata text, reverses int8, reverses_id text, reason text, reversed_by int8, \
              reversed_by_id text, previous int8, previous_step int8, sum int8",
};

/// What retention takes of an operation: [`Operation::without_details`] by columns.
pub(super) const OPERATION_DETAILS: [&str; 6] = ["tokens", "units", "step_label", "duration_ms", "metadata", "reason"];

pub(super) fn write_operation<'a>(
    rows: &mut Rows<'a>,
    bucket: i32,
    operation: &'a Operation,
) -> Result<(), StoreError> {
    rows.int(i64::from(bucket)).number(operation.user_no.0).number(operation.no.0);
    rows.int(i64::from(operation.month().index())).text(Some(operation.operation_id.as_str()));
    rows.blob(&operation.fingerprint.0).int(operation_flags(operation));
    rows.text(Some(operation.feature.as_str())).text(Some(operation.provider.as_str()));
    rows.text(operation.model.as_ref().map(Name::as_str)).int(operation.cost.picos());
    rows.made(operation.tokens.as_ref().map(tokens_text));
    rows.made(operation.units.as_deref().map(units_text).transpose()?);
    let session = operation.session.as_ref();
    rows.optional_number(session.map(|(no, _)| no.0)).text(session.map(|(_, id)| id.as_str()));
    rows.number(operation.step_position).text(operation.step_label.as_ref().map(Label::as_str));
    rows.int(operation.step_number).optional_number(operation.duration_ms).wide(operation.timestamp.nanos());
    rows.time(operation.recorded_at).text(operation.metadata.as_deref());
    let reverses = operation.reverses.as_ref();
    rows.optional_number(reverses.map(|(no, _)| no.0)).text(reverses.map(|(_, id)| id.as_str()));
    rows.text(operation.reason.as_ref().map(Label::as_str));
    let reversed_by = operation.reversed_by.as_ref();
    rows.optional_number(reversed_by.map(|(no, _)| no.0)).text(reversed_by.map(|(_, id)| id.as_str()));
    rows.optional_number(operation.previous_in_month.map(|no| no.0));
    rows.optional_number(operation.previous_in_session.map(|no| no.0));
    rows.end_with_sum();
    Ok(())
}

pub(super) fn read_operation(row: &mut RowReader<'_>) -> Result<Operation, StoreError> {
    row.required()?;
    let user_no = UserNo(row.number()?);
    let no = OperationNo(row.number()?);
    row.required()?;
    let operation_id = OperationId::from_stored(row.required_text()?);
    let fingerprint = Fingerprint(row.blob()?);
    let flags = read_flags(row.required()?);
    let feature = Name::from_stored(row.required_text()?);
    let provider = Name::from_stored(row.required_text()?);
    let model = row.text()?.map(Name::from_stored);
    let cost = Usd::from_picos(row.required()?);
    let tokens = row.text()?.map(read_tokens).transpose()?;
    let units = row.text()?.map(read_units).transpose()?;
    let session_no = row.optional_number()?.map(SessionNo);
    let session_id = row.text()?.map(SessionId::from_stored);
    let step_position = row.number()?;
    let step_label = row.text()?.map(Label::from_stored);
    let step_number = row.int()?;
    let duration_ms = row.optional_number()?;
    let timestamp = time(row.wide()?)?;
    let recorded_at = row.time()?;
    let metadata = row.text()?.map(Arc::from);
    let reverses = row.optional_number()?.map(OperationNo);
    let reverses_id = row.text()?.map(OperationId::from_stored);
    let reason = row.text()?.map(Label::from_stored);
    let reversed_by = row.optional_number()?.map(OperationNo);
    let reversed_by_id = row.text()?.map(OperationId::from_stored);
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
        session: session_no.zip(session_id),
        step_position,
        step_label,
        step_number,
        finish_session: flags.finish_session,
        duration_ms,
        timestamp,
        recorded_at,
        metadata,
        reverses: reverses.zip(reverses_id),
        reason,
        reversed_by: reversed_by.zip(reversed_by_id),
        previous_in_month: row.optional_number()?.map(OperationNo),
        previous_in_session: row.optional_number()?.map(OperationNo),
        trimmed: flags.trimmed,
    })
}

pub(super) const DENIAL: Table = Table {
    name: "denial",
    keys: &["bucket", "no"],
    columns: "bucket int8, no int8, user_no int8, feature text, session_id text, ask text, reason_kind int8, \
              reason text, failed int8, limit_cost int8, limit_ai_runs int8, limit_api_runs int8, next_plan text, \
              times int8, source int8, metadata text, recorded_at int8, previous int8, sum int8",
};

pub(super) fn write_denial<'a>(rows: &mut Rows<'a>, bucket: i32, denial: &'a Denial) -> Result<(), StoreError> {
    let (kind, reason) = reason_columns(&denial.reason);
    rows.int(i64::from(bucket)).number(denial.no.0).number(denial.user_no.0).text(Some(denial.feature.as_str()));
    rows.text(denial.session_id.as_ref().map(SessionId::as_str)).made(Some(ask_text(&denial.ask)?));
    rows.int(kind).text(reason).int(failed_bits(denial.failed));
    for meter in Meter::ALL {
        rows.int(*denial.limits.get(meter));
    }
    rows.text(denial.next_plan.as_ref().map(Name::as_str)).number(denial.times).int(source_no(denial.source));
    rows.text(denial.metadata.as_deref()).time(denial.recorded_at);
    rows.optional_number(denial.previous.map(|no| no.0)).end_with_sum();
    Ok(())
}

pub(super) fn read_denial(row: &mut RowReader<'_>) -> Result<Denial, StoreError> {
    row.required()?;
    let no = DenialNo(row.number()?);
    let user_no = UserNo(row.number()?);
    let feature = Name::from_stored(row.required_text()?);
    let session_id = row.text()?.map(SessionId::from_stored);
    let ask = read_ask(row.required_text()?)?;
    let (kind, text) = (row.required()?, row.text()?);
    Ok(Denial {
        no,
        user_no,
        feature,
        session_id,
        ask,
        reason: read_reason(kind, text)?,
        failed: read_failed(row.required()?),
        limits: Limits { cost: row.int()?, ai_runs: row.int()?, api_runs: row.int()? },
        next_plan: row.text()?.map(Name::from_stored),
        times: row.number()?,
        source: read_source(row.required()?)?,
        metadata: row.text()?.map(Arc::from),
        recorded_at: row.time()?,
        previous: row.optional_number()?.map(DenialNo),
    })
}

pub(super) const ALERT: Table = Table {
    name: "alert",
    keys: &["bucket", "no"],
    columns: "bucket int8, no int8, user_no int8, month int8, meter int8, threshold int8, limit_value int8, \
              used int8, held int8, plan text, next_plan text, superseded_by int8, recorded_at int8, previous int8, \
              sum int8",
};

pub(super) fn write_alert<'a>(rows: &mut Rows<'a>, bucket: i32, alert: &'a Alert) {
    rows.int(i64::from(bucket)).number(alert.no.0).number(alert.user_no.0).int(i64::from(alert.month.index()));
    rows.int(meter_no(alert.key.meter)).int(i64::from(alert.key.threshold)).int(alert.key.limit);
    rows.int(alert.used).int(alert.held).text(Some(alert.plan.as_str()));
    rows.text(alert.next_plan.as_ref().map(Name::as_str)).optional_number(alert.superseded_by.map(|no| no.0));
    rows.time(alert.recorded_at).optional_number(alert.previous.map(|no| no.0)).end_with_sum();
}

pub(super) fn read_alert(row: &mut RowReader<'_>) -> Result<Alert, StoreError> {
    row.required()?;
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

/// Reads the rows of an answer.
pub(super) fn read_all<T>(
    rows: &[Row],
    read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| read(&mut RowReader::new(row))).collect()
}
