//! What an intent asks for: amounts, or choices of them.

use std::sync::Arc;

use outlay_core::id::Name;
use outlay_core::money::Usd;
use outlay_core::plan::{Amounts, RUNS_AMOUNT_MAX};
use outlay_core::session::{Ask, Choice};

use super::{Object, decimal, text, whole};

/// Choices of one intent, at most.
pub(in crate::http) const CHOICES_MAX: usize = 16;

/// Reads exactly one of `estimate` and `choices`; `None` when it is wrong, which is noted.
pub(in crate::http) fn read(fields: &mut Object<'_>) -> Option<Ask> {
    let given = (!fields.is_absent("estimate"), !fields.is_absent("choices"));
    // The one that is not read may be there as `null`.
    if !given.0 {
        fields.take("estimate");
    }
    if !given.1 {
        fields.take("choices");
    }
    match given {
        (true, false) => fields.object("estimate", |fields| Some(Ask::Estimate(amounts(fields)))),
        (false, true) => choices(fields),
        (false, false) => {
            fields.wrong("estimate", "is required, or `choices`");
            None
        }
        (true, true) => {
            fields.take("estimate");
            fields.take("choices");
            fields.wrong("choices", "must not be given together with `estimate`");
            None
        }
    }
}

fn choices(fields: &mut Object<'_>) -> Option<Ask> {
    let choices = fields.objects("choices", CHOICES_MAX, |choice| {
        let name = choice.required("name", text(Name::new));
        let estimate = estimate(choice);
        Some(Choice { name: name?, estimate: estimate? })
    })?;
    let twice = choices
        .iter()
        .enumerate()
        .find(|(index, choice)| choices.iter().take(*index).any(|earlier| earlier.name == choice.name));
    if let Some((index, _)) = twice {
        fields.wrong("choices", format!("must have different names; the one at {index} was there before"));
        return None;
    }
    Some(Ask::Choices(Arc::from(choices)))
}

/// Reads the member `estimate`, which must be there.
pub(in crate::http) fn estimate(fields: &mut Object<'_>) -> Option<Amounts> {
    fields.required_object("estimate", |fields| Some(amounts(fields)))
}

/// Reads amounts; a meter that is absent is at 0, and so is one that is wrong, which is noted.
pub(in crate::http) fn amounts(fields: &mut Object<'_>) -> Amounts {
    Amounts {
        cost: fields.optional("cost", decimal(Usd::parse)).map_or(0, Usd::picos),
        ai_runs: fields.optional("aiRuns", whole(0..=RUNS_AMOUNT_MAX)).unwrap_or(0),
        api_runs: fields.optional("apiRuns", whole(0..=RUNS_AMOUNT_MAX)).unwrap_or(0),
    }
}
