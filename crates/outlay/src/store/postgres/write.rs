//! Writes what a batch changed: one statement a table, with arrays of rows.

use outlay_core::ledger::{Numbers, Written};
use outlay_core::user::User;
use tokio_postgres::types::ToSql;

use super::codec;
use super::link::{Link, Sent};
use super::names::Names;
use super::outbox::{self, BLANK_REASONS};
use super::rows::{Rows, nanos, stored};
use super::statements::{ADD_ERASURES, ADD_EVENTS, MADE, MOVE_BUCKETS, NEXT_VERSION, PUT_PLAN, REVERSE_OP_KEYS};
use super::sums::Added;
use crate::store::StoreError;
use crate::store::outbox::{NewDelivery, Telling};
use outlay_core::id::UserId;
use outlay_core::ledger::Now;
use outlay_core::plan::Overrides;

/// What a batch did in one bucket that it has locked.
#[derive(Debug)]
pub(super) struct InBucket {
    pub(super) bucket: i32,
    /// The bucket's order before the batch.
    pub(super) seq: i64,
    /// The numbers that come next after the batch.
    pub(super) numbers: Numbers,
    pub(super) written: Written,
    /// The users who are erased, as rows that say nothing of anybody.
    pub(super) nobodies: Vec<User>,
    /// What is to be told of it, and the number of the delivery that comes next.
    pub(super) told: Vec<NewDelivery>,
    pub(super) next_delivery: u64,
}

impl InBucket {
    pub(super) fn new(bucket: i32, seq: i64, numbers: Numbers, written: Written, mut told: Telling) -> Self {
        let nobody = |user: &User| User {
            user_id: UserId::from_stored(""),
            plan: None,
            email: None,
            overrides: Overrides::default(),
            ..user.clone()
        };
        let nobodies = written.erased.iter().map(|user| nobody(user)).collect();
        let next_delivery = told.next();
        Self { bucket, seq, numbers, written, nobodies, told: told.take(), next_delivery }
    }
}

/// What an event tells of.
pub(super) const BUDGET: i64 = 0;
pub(super) const ALERT: i64 = 1;
pub(super) const DENIAL: i64 = 2;
/// Nothing that anybody watches: a record was written.
pub(super) const RECORD: i64 = -1;
/// The user of an event that tells of nobody: it only says that the batch is recorded.
pub(super) const NOBODY: u64 = 0;

/// A plan's name, tier and limits.
type PlanRow<'a> = (&'a str, i64, Option<i64>, Option<i64>, Option<i64>);

/// The statements of one batch with their rows, in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Writes<'a> {
    rows: Vec<(&'static str, Rows<'a>)>,
    plans: Vec<PlanRow<'a>>,
}

impl<'a> Writes<'a> {
    /// All that the batch changed. `ops` are the operations' ids as they are looked for, those of the new ones first.
    pub(super) fn new(
        of: &'a [InBucket],
        ops: &'a Ops,
        batch: &'a [u8; 16],
        now: Now,
        names: &Names,
    ) -> Result<Self, StoreError> {
        let made = &*MADE;
        let (mut erased, mut erasures, mut users, mut months) = Default::default();
        let (mut operations, mut keys, mut reversed, mut reversed_keys) = Default::default();
        let (mut sessions, mut denials, mut alerts) = Default::default();
        let (mut told, mut blanked) = <(Rows<'a>, Rows<'a>)>::default();
        let (mut events, mut buckets) = <(Rows<'a>, Rows<'a>)>::default();
        let mut added = Added::default();
        let mut plans = Vec::new();
        let (mut new_ops, mut reversed_ops) = (ops.new.iter(), ops.reversed.iter());
        for one in of {
            let (bucket, written) = (one.bucket, &one.written);
            for user in &one.nobodies {
                codec::write_user(&mut erased, bucket, user);
                write_erasure(&mut erasures, bucket, user, now);
                blanked.int(i64::from(bucket)).number(user.no.0).end();
            }
            written.users.iter().for_each(|user| codec::write_user(&mut users, bucket, user));
            written.months.iter().for_each(|(no, month)| codec::write_month(&mut months, bucket, *no, month));
            for (operation, op) in written.operations.iter().zip(&mut new_ops) {
                codec::write_operation(&mut operations, bucket, operation)?;
                codec::write_op_key(&mut keys, bucket, op, operation);
                added.operation(bucket, operation, names);
            }
            for (operation, op) in written.reversed.iter().zip(&mut reversed_ops) {
                codec::write_operation(&mut reversed, bucket, operation)?;
                write_reversed_key(&mut reversed_keys, bucket, op, operation);
            }
            for (before, session) in &written.sessions {
                codec::write_session(&mut sessions, bucket, session)?;
                added.session(bucket, before.as_ref(), session);
            }
            for denial in &written.denials {
                codec::write_denial(&mut denials, bucket, denial)?;
            }
            written.alerts.iter().for_each(|alert| codec::write_alert(&mut alerts, bucket, alert));
            one.told.iter().for_each(|new| outbox::write_delivery(&mut told, bucket, new, now.wall));
            plans.extend(written.plans.iter().map(|plan| {
                let limits = &plan.limits;
                (plan.name.as_str(), i64::from(plan.tier), limits.cost, limits.ai_runs, limits.api_runs)
            }));
            let seq = write_events(&mut events, one, batch, now);
            // Also where nothing changed: an answer may rest on a row that no standby has yet, and this write's own wait
            // for them proves it.
            let numbers = &one.numbers;
            buckets.int(i64::from(bucket)).int(seq).int(nanos(now.holds)).number(numbers.user.0);
            buckets.number(numbers.operation.0).number(numbers.session.0).number(numbers.denial.0);
            buckets.number(numbers.alert.0).number(one.next_delivery).end();
        }
        let (add_breakdown, add_bucket_days) = if names.may_overflow() {
            (made.add_breakdown_capped.as_str(), made.add_bucket_days_capped.as_str())
        } else {
            (made.add_breakdown.as_str(), made.add_bucket_days.as_str())
        };
        let all = [
            // The id of an erased user may be a new user's in the same batch, so it is freed first.
            (made.put_users.as_str(), erased),
            (ADD_ERASURES, erasures),
            (&made.put_users, users),
            (&made.insert_op_keys, keys),
            (&made.insert_operations, operations),
            (&made.put_operations, reversed),
            (REVERSE_OP_KEYS, reversed_keys),
            (&made.put_months, months),
            (add_breakdown, added.breakdown()),
            (add_bucket_days, added.bucket_days()),
            (&made.put_sessions, sessions),
            (&made.add_session_days, added.session_days()),
            (&made.put_denials, denials),
            (&made.insert_alerts, alerts),
            (&made.insert_deliveries, told),
            (BLANK_REASONS, blanked),
            (ADD_EVENTS, events),
            (MOVE_BUCKETS, buckets),
        ];
        Ok(Self { rows: all.into_iter().filter(|(_, rows)| !rows.is_empty()).collect(), plans })
    }

    /// Sends the statements, without COMMIT.
    pub(super) fn send<'s>(&'s self, link: &'s Link) -> Vec<Sent<'s>> {
        let mut sent: Vec<Sent<'s>> = Vec::with_capacity(self.rows.len() + 3);
        for (name, tier, cost, ai_runs, api_runs) in &self.plans {
            let parameters: Vec<&(dyn ToSql + Sync)> = vec![name, tier, cost, ai_runs, api_runs];
            sent.push(link.send(PUT_PLAN, parameters));
        }
        if !self.plans.is_empty() {
            sent.push(link.send(NEXT_VERSION, Vec::new()));
        }
        sent.extend(self.rows.iter().map(|(sql, rows)| link.send_rows(sql, rows)));
        sent
    }
}

/// The ids of a batch's operations as they are looked for.
#[derive(Debug, Default)]
pub(super) struct Ops {
    new: Vec<[u8; 16]>,
    reversed: Vec<[u8; 16]>,
}

impl Ops {
    pub(super) fn of(of: &[InBucket]) -> Self {
        let new = of.iter().flat_map(|one| &one.written.operations);
        let reversed = of.iter().flat_map(|one| &one.written.reversed);
        Self {
            new: new.map(|operation| codec::op_of(&operation.operation_id)).collect(),
            reversed: reversed.map(|operation| codec::op_of(&operation.operation_id)).collect(),
        }
    }
}

fn write_erasure(rows: &mut Rows<'_>, bucket: i32, user: &User, now: Now) {
    rows.int(i64::from(bucket)).number(user.no.0).number(user.tag).time(now.wall).end();
}

pub(super) fn write_reversed_key<'a>(
    rows: &mut Rows<'a>,
    bucket: i32,
    op: &'a [u8],
    operation: &outlay_core::operation::Operation,
) {
    rows.int(i64::from(bucket)).number(operation.user_no.0).blob(op);
    rows.optional_number(operation.reversed_by.as_ref().map(|(no, _)| no.0)).end();
}

/// An event for each user whose budget is another, and for each alert and denial; gives the bucket's order after them. A
/// batch that changed anything has at least one, by which it is found.
fn write_events<'a>(rows: &mut Rows<'a>, one: &InBucket, batch: &'a [u8; 16], now: Now) -> i64 {
    let written = &one.written;
    let users = written.views.iter().filter_map(|(_, view)| Some(view.user.as_ref()?.no));
    let erased = written.erased.iter().map(|user| user.no);
    let budgets = users.chain(erased).map(|no| (no.0, BUDGET, None));
    let alerts = written.alerts.iter().map(|alert| (alert.user_no.0, ALERT, Some(alert.no.0)));
    let denials = written.denials.iter().map(|denial| (denial.user_no.0, DENIAL, Some(denial.no.0)));
    let mut events: Vec<(u64, i64, Option<u64>)> = budgets.chain(alerts).chain(denials).collect();
    events.sort_unstable();
    events.dedup();
    if events.is_empty() && !one.written.is_empty() {
        events.push((NOBODY, BUDGET, None));
    }
    // Of a clock that is set back there may be no partition any more, and time that decides never runs back.
    let day = i64::from(now.wall.max(now.holds).day().index());
    let mut seq = one.seq;
    for (user_no, kind, no) in events {
        seq += 1;
        rows.int(i64::from(one.bucket)).int(seq).int(day);
        rows.int(stored(user_no)).int(kind).optional_number(no).blob(batch).end();
    }
    seq
}
