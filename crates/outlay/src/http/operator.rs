//! What the operator sees of everybody: one month at a glance, and the list of users.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::breakdown::Sums;
use outlay_core::budget::{Budget, State as BudgetState};
use outlay_core::id::{Name, UserId};
use outlay_core::ledger::budget;
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month};
use outlay_core::plan::Plans;

use super::breakdown::{Totals, by_day, by_name, write, write_day, write_names};
use super::json::{Hundredths, Json, Object};
use super::page::{CursorError, Parameters};
use super::present::figures;
use super::problem::Problem;
use super::{SharedApp, schemas};
use crate::store::{Overview, OverviewQuery, UserItem, UserSort, UsersAfter, UsersQuery};
use crate::sums::Against;

/// Features, providers and models of the overview, at most.
const TOP_MAX: usize = 10;

/// See a month at a glance
///
/// One snapshot over all users, beside the month before: while the month runs, as far as the same day of it; else whole.
#[utoipa::path(get, path = "/v1/overview", tag = "Operator",
    operation_id = "getOverview",
    params(schemas::MonthQuery),
    responses((status = 200, description = "The month", body = schemas::Overview),
        schemas::ReadProblems))]
pub(super) async fn overview(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse);
    parameters.finish()?;
    let month = month.unwrap_or_else(|| app.reads.now().month());
    let overview = app.reads.overview(OverviewQuery { month, months_before: 1, newest: 0 }).await?;
    let json = Json::with_room(8_192, |json| json.object(|object| write_overview(object, month, &overview)));
    Ok(json.answer(StatusCode::OK))
}

fn write_overview(object: &mut Object<'_>, month: Month, overview: &Overview) {
    let today = overview.as_of.day();
    let last = if today.month() == month { today } else { Day::new(month, month.days()) };
    let of_month = || overview.days.iter().filter(|(day, ..)| day.month() == month);
    write_figures(object, month, overview);
    let days = by_day(Day::new(month, 1), last, of_month());
    object.array("days", &days, |json, (day, totals)| write_day(json, *day, totals));

    let mut top = |name: &str, sums: Vec<(Option<&str>, Sums)>| {
        let top: Vec<_> = sums.into_iter().filter(|(name, _)| name.is_some()).take(TOP_MAX).collect();
        object.with(name, |json| write_names(json, &top));
    };
    top("topFeatures", by_name(of_month(), |dimensions| Some(dimensions.feature.as_str())));
    top("topProviders", by_name(of_month(), |dimensions| Some(dimensions.provider.as_str())));
    top("topModels", by_name(of_month(), |dimensions| dimensions.model.as_ref().map(Name::as_str)));
    object.array("topUsers", &overview.top_users, |json, item| {
        json.object(|object| write_user(object, item, &overview.plans));
    });
    write_states(object, overview);
    match Against::of(month, overview.as_of) {
        Some(against) => object.object("before", |object| write_before(object, against, overview)),
        None => object.put("before", None::<bool>),
    };
}

/// The totals of a month, as an event of the stream of all users has them.
pub(super) fn write_glance(object: &mut Object<'_>, month: Month, overview: &Overview) {
    write_figures(object, month, overview);
    write_states(object, overview);
}

fn write_figures(object: &mut Object<'_>, month: Month, overview: &Overview) {
    let totals = Totals::of(overview.days.iter().filter(|(day, ..)| day.month() == month));
    object.put("month", month).put("asOf", overview.as_of);
    object.object("totals", |object| write_totals(object, &totals));
    object.object("held", |object| {
        object.put("cost", UsdSum::from_picos(overview.held.cost));
        object.put("aiRuns", overview.held.ai_runs).put("apiRuns", overview.held.api_runs);
    });
    object.put("activeUsers", overview.active_users).put("erasedUsers", overview.erased_users);
    let users = overview.active_users + overview.erased_users;
    object.object("averages", |object| write_averages(object, &totals.all(), users));
}

fn write_states(object: &mut Object<'_>, overview: &Overview) {
    object.object("states", |object| {
        for (state, count) in BudgetState::ALL.into_iter().zip(overview.states) {
            object.put(state.as_str(), count);
        }
    });
}

/// What the month is compared with.
fn write_before(object: &mut Object<'_>, against: Against, overview: &Overview) {
    let totals = Totals::of(overview.days.iter().filter(|(day, ..)| against.takes(*day)));
    object.put("month", against.through.month()).put("throughDay", against.through);
    object.object("totals", |object| write_totals(object, &totals));
    object.put("activeUsers", overview.active_users_before);
}

fn write_totals(object: &mut Object<'_>, totals: &Totals) {
    for (name, sums) in [("ai", totals.ai), ("api", totals.api), ("all", totals.all())] {
        object.object(name, |object| {
            write(object, &sums);
            object.put("inputTokens", sums.tokens.input).put("outputTokens", sums.tokens.output);
        });
    }
}

fn write_averages(object: &mut Object<'_>, all: &Sums, users: u64) {
    object.put("costPerUser", all.cost.mean(users));
    object.put("costPerOperation", all.cost_per_operation()).put("costPerRun", all.cost_per_run());
}

/// List users
///
/// Sorted as asked; the cursor goes on after the last key and user.
#[utoipa::path(get, path = "/v1/users", tag = "Operator",
    operation_id = "listUsers",
    params(schemas::UsersQuery, schemas::MonthQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Users),
        schemas::ReadProblems))]
pub(super) async fn users(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let (query, list) = users_query(&app, &mut parameters);
    parameters.finish()?;
    let page = app.reads.users(query).await?;
    let plans = app.reads.plans();
    let next = page.next.map(|after| seal_after(&app, &list, &after));
    let json = Json::with_room(768 * (page.items.len() + 1), |json| {
        json.object(|object| {
            object.array("items", &page.items, |json, item| json.object(|object| write_user(object, item, &plans)));
            object.put("nextCursor", next.as_deref());
        });
    });
    Ok(json.answer(StatusCode::OK))
}

/// What a query asks of the list of users, and the list's tag.
pub(super) fn users_query(app: &SharedApp, parameters: &mut Parameters) -> (UsersQuery, String) {
    let month = parameters.read("month", Month::parse).unwrap_or_else(|| app.reads.now().month());
    let sort = parameters
        .read("sort", |text| named(&SORTS, text, "must be cost, percent, aiRuns, apiRuns, lastSeen or userId"));
    let sort = sort.unwrap_or(UserSort::Cost);
    let descending = parameters.read("order", |text| named(&ORDERS, text, "must be desc or asc"));
    let descending = descending.unwrap_or(sort != UserSort::UserId);
    let active = parameters.flag("active", false);
    let state = parameters.read("state", |text| {
        BudgetState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("must be ok, warning, critical or reached")
    });
    let plan = parameters.read("plan", Name::new);
    let prefix = parameters.take("q").filter(|prefix| !prefix.is_empty());
    // A cursor goes on in the order that it was made for, and in no other.
    let list = format!("users {sort:?} {descending} {month}");
    let after = parameters.read("cursor", |text| after_of(&app.open_cursor(&list, text)?));
    let limit = parameters.limit();
    (UsersQuery { month, sort, descending, active, state, plan, prefix, after, limit }, list)
}

/// The cursor of a place in a list of users.
pub(super) fn seal_after(app: &SharedApp, list: &str, after: &UsersAfter) -> String {
    app.seal_cursor(list, &place_of(after))
}

/// By what users are sorted, by name.
pub(super) const SORTS: [(&str, UserSort); 6] = [
    ("cost", UserSort::Cost),
    ("percent", UserSort::Percent),
    ("aiRuns", UserSort::AiRuns),
    ("apiRuns", UserSort::ApiRuns),
    ("lastSeen", UserSort::LastSeen),
    ("userId", UserSort::UserId),
];
/// The two orders, and whether they go down.
pub(super) const ORDERS: [(&str, bool); 2] = [("desc", true), ("asc", false)];

/// What one of these names means.
fn named<T: Copy>(table: &[(&str, T)], text: &str, must: &'static str) -> Result<T, &'static str> {
    table.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or(must)
}

fn place_of(after: &UsersAfter) -> Vec<u8> {
    [&after.key.to_le_bytes(), after.user_id.as_str().as_bytes()].concat()
}

fn after_of(place: &[u8]) -> Result<UsersAfter, CursorError> {
    let (key, user_id) = place.split_first_chunk::<16>().ok_or(CursorError)?;
    let user_id = std::str::from_utf8(user_id).ok().and_then(|text| UserId::new(text).ok()).ok_or(CursorError)?;
    Ok(UsersAfter { key: i128::from_le_bytes(*key), user_id })
}

fn write_user(object: &mut Object<'_>, item: &UserItem, plans: &Plans) {
    let UserItem { user, month, held } = item;
    let budget = budget(plans, Some(user), &user.user_id, month.month, &month.used, held);
    object.put("userId", &user.user_id).put("plan", &budget.plan).put("email", user.email.as_deref());
    object.put("month", month.month).put("state", budget.state().as_str()).put("percent", worst_percent(&budget));
    object.put("cost", month.used.usd()).put("aiRuns", month.used.ai_runs).put("apiRuns", month.used.api_runs);
    object.object("meters", |object| {
        for (meter, meter_budget) in budget.meters.iter() {
            object.object(meter.as_str(), |object| figures(object, meter, meter_budget));
        }
    });
    object.put("operations", month.operations).put("lastSeenAt", month.last_updated_at);
    object.put("createdAt", user.created_at);
}

/// The highest percentage of the meters that have a limit.
fn worst_percent(budget: &Budget) -> Option<Hundredths> {
    budget.meters.iter().filter_map(|(_, meter)| meter.percent_hundredths()).max().map(Hundredths)
}
