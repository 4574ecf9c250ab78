//! Day sums as history and overview show them, with what follows from the sums.

use outlay_core::breakdown::Sums;
use outlay_core::month::Day;

use super::json::{Json, Object};

pub(super) use crate::sums::{Totals, by_day, by_name};

/// `cost, operations, billableRuns, costPerOperation, costPerRun`
pub(super) fn write(object: &mut Object<'_>, sums: &Sums) {
    object.put("cost", sums.cost).put("operations", sums.operations).put("billableRuns", sums.billable_runs);
    object.put("costPerOperation", sums.cost_per_operation()).put("costPerRun", sums.cost_per_run());
}

/// The sums of a day, with the runs of each meter.
pub(super) fn write_day(json: &mut Json, day: Day, totals: &Totals) {
    let all = totals.all();
    json.object(|object| {
        object.put("day", day).put("cost", all.cost).put("operations", all.operations);
        object.put("billableRuns", all.billable_runs);
        object.put("aiRuns", totals.ai.billable_runs).put("apiRuns", totals.api.billable_runs);
    });
}

/// Names with their sums.
pub(super) fn write_names(json: &mut Json, names: &[(Option<&str>, Sums)]) {
    json.array(names, |json, (name, sums)| {
        json.object(|object| {
            object.put("name", *name);
            write(object, sums);
        });
    });
}
