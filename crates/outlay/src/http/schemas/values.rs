//! What a value that is sent must be: each bound is the one that the rules read it by, so that the description says what they do.

use outlay_core::id;
use outlay_core::money::{PICOS_PER_USD, Quantity as CoreQuantity, Usd as CoreUsd};
use outlay_core::plan::{RUNS_AMOUNT_MAX, RUNS_LIMIT_MAX};
use outlay_core::session::{HOLD_SECONDS_MAX, SessionStatus as Status};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{Number, PartialSchema, ToSchema};

use crate::audit::Action as AuditAction;
use crate::http::tokens::{Readable as Reads, TTL_SECONDS};
use crate::http::{audit, body, history, keys, operator, page, plans, sessions, users};
use crate::store::outbox::{DeliveryState as State, EventKind as Kind};
use crate::store::records::Role as KeyRole;

/// No character of these is a control character.
const NO_CONTROL: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The same, and it is neither of the two that browsers fold away in a path.
const NO_DOTS: &str = r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f-\u009f]+$";
/// From January of the year 1 to November 9999.
const MONTH: &str = "^(?!0000|9999-12)[0-9]{4}-(0[1-9]|1[0-2])$";
/// What stands before an `@`, and after it something that is more than dots and hyphens.
const ADDRESS: &str = r"^[^\s\u0000-\u001f\u007f-\u009f]+@[^\s\u0000-\u001f\u007f-\u009f@]*[^\s\u0000-\u001f\u007f-\u009f@.-][^\s\u0000-\u001f\u007f-\u009f@]*$";
/// What a cursor is written in.
const BASE64: &str = "^[A-Za-z0-9_-]+$";

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

values! {
    /// The end user to whom cost is charged.
    UserId = text(1, id::UserId::CHARACTERS_MAX).pattern(Some(NO_DOTS));
    /// A unit of work of one user.
    SessionId = text(1, id::SessionId::CHARACTERS_MAX).pattern(Some(NO_DOTS));
    /// The idempotency key of one operation.
    OperationId = text(1, id::OperationId::CHARACTERS_MAX).pattern(Some(NO_DOTS));
    /// A plan that is named in a path.
    PlanName = text(1, id::Name::CHARACTERS_MAX).pattern(Some(NO_DOTS));
    /// A feature, provider, model, choice or plan.
    Name = text(1, id::Name::CHARACTERS_MAX);
    /// A step label, reason or error.
    Label = text(1, id::Label::CHARACTERS_MAX);
    /// What something is for, in the sender's words.
    Description = text(0, keys::DESCRIPTION_CHARACTERS_MAX);
    /// An e-mail address.
    Email = text(0, users::EMAIL_BYTES_MAX).pattern(Some(ADDRESS));
    /// A month.
    Month = ObjectBuilder::new().schema_type(Type::String).pattern(Some(MONTH));
    /// An RFC 3339 time with an offset.
    Time = ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// USD to be recorded or set aside: a number, or a string that holds the same.
    Cost = decimal(CoreUsd::AMOUNT_MAX.picos() / PICOS_PER_USD, "USD, to 12 decimals; a string that holds the same is read too.");
    /// USD of a limit.
    CostLimit = decimal(CoreUsd::TOTAL_MAX.picos() / PICOS_PER_USD, "USD, to 12 decimals; a string that holds the same is read too.");
    /// A quantity of something that is priced by the unit.
    Quantity = decimal(CoreQuantity::MAX, "To 12 decimals; a string that holds the same is read too.");
    /// Quantities by the names of their units.
    Units = ObjectBuilder::new()
        .property_names(Some(Schema::from(Object::from(text(1, id::Name::CHARACTERS_MAX)))))
        .additional_properties(Some(AdditionalProperties::RefOr(Ref::from_schema_name("Quantity").into())))
        .max_properties(Some(body::MEMBERS_MAX));
    /// Runs of an intent.
    Runs = whole(0, RUNS_AMOUNT_MAX);
    /// Runs of a limit.
    RunsLimit = whole(0, RUNS_LIMIT_MAX);
    /// A count, a length of time in milliseconds, or a place.
    Count = whole(0, i64::MAX);
    /// For how long a hold is kept.
    HoldSeconds = whole(1, HOLD_SECONDS_MAX);
    /// For how long a token is good.
    TtlSeconds = whole(*TTL_SECONDS.start(), *TTL_SECONDS.end());
    /// A plan's place among the plans.
    Tier = whole(0, plans::TIER_MAX);
    /// Items of a page.
    Limit = whole(1, signed(page::LIMIT_MAX));
    /// Where a page begins.
    Cursor = text(1, page::CURSOR_CHARACTERS_MAX).pattern(Some(BASE64));
    /// How many days.
    Days = whole(1, sessions::DAYS_MAX.cast_signed());
    /// How many months.
    Months = whole(1, history::MONTHS_MAX.cast_signed());
    /// A user's number.
    UserNumber = whole(1, i64::MAX);
    /// Where a session stands.
    SessionStatus = words(Status::ALL.map(Status::as_str));
    /// What a key may do.
    Role = words(KeyRole::ALL.map(KeyRole::as_str));
    /// What a token reads besides.
    Readable = words(Reads::ALL.map(Reads::as_str));
    /// What a webhook is told of.
    EventName = words(Kind::ALL.map(Kind::as_str));
    /// What a webhook is told of, at least one.
    EventNames = ArrayBuilder::new().items(Ref::from_schema_name("EventName")).min_items(Some(1));
    /// What became of a delivery.
    DeliveryState = words(distinct(State::ALL.map(State::as_str)));
    /// What is done.
    Action = words(AuditAction::ALL.iter().map(|action| action.as_str()));
    /// Who did something.
    Who = text(0, audit::WHO_CHARACTERS_MAX);
    /// How users are sorted.
    UserSort = words(operator::SORTS.map(|(name, _)| name));
    /// Upwards or downwards.
    Order = words(operator::ORDERS.map(|(name, _)| name));
}

/// A text without control characters.
fn text(min: usize, max: usize) -> ObjectBuilder {
    let min = (min > 0).then_some(min);
    ObjectBuilder::new().schema_type(Type::String).min_length(min).max_length(Some(max)).pattern(Some(NO_CONTROL))
}

/// A whole number.
fn whole(min: i64, max: i64) -> ObjectBuilder {
    let format = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));
    let number = |bound: i64| isize::try_from(bound).ok().map(Number::Int);
    ObjectBuilder::new().schema_type(Type::Integer).format(format).minimum(number(min)).maximum(number(max))
}

/// A decimal from 0: a number, or a string that holds the same.
fn decimal(max: i64, words: &'static str) -> AnyOfBuilder {
    let number = ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
        .maximum(isize::try_from(max).ok().map(Number::Int));
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(up_to(max)));
    AnyOfBuilder::new().item(number).item(text).description(Some(words))
}

/// A pattern of decimals from 0 to a power of ten, or to a digit's multiple of one.
fn up_to(max: i64) -> String {
    let max = max.to_string();
    let zeros = max.len() - 1;
    let first = max.chars().next().unwrap_or('1');
    let below = char::from_u32(u32::from(first) - 1).filter(|below| *below > '0');
    let as_long = below.map_or_else(String::new, |below| format!("|[1-{below}][0-9]{{{zeros}}}"));
    format!(
        r"^((0|[1-9][0-9]{{0,{}}}{as_long})(\.[0-9]{{1,300}})?([eE]-[0-9]{{1,2}})?|{max}(\.0{{1,300}})?)$",
        zeros - 1
    )
}

/// One of a few words.
fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

fn distinct<const N: usize>(words: [&'static str; N]) -> Vec<&'static str> {
    let mut distinct = words.to_vec();
    distinct.dedup();
    distinct
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_decimals_ends_where_its_bound_does() {
        assert_eq!(
            up_to(1_000_000),
            r"^((0|[1-9][0-9]{0,5})(\.[0-9]{1,300})?([eE]-[0-9]{1,2})?|1000000(\.0{1,300})?)$"
        );
        let limit = up_to(9_000_000);
        assert!(limit.contains("[0-9]{0,5}|[1-8][0-9]{6})") && limit.contains("|9000000("), "{limit}");
    }
}
