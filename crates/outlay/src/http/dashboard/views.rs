//! The views: queries into pages.

use axum::extract::State;
use axum::response::Response;
use outlay_core::id::{Name, OperationId, SessionId, UserId};
use outlay_core::month::Month;

use super::Browser;
use super::lists::gathered;
use crate::forecast::{self, users::Known};
use crate::http::json::Json;
use crate::http::operator::users_query;
use crate::http::page::{CursorError, Parameters};
use crate::http::present::Worded;
use crate::http::problem::{Kind, Problem};
use crate::http::reading::{OfOperation, OfUser, not_loaded};
use crate::http::sign_in::back;
use crate::http::{SharedApp, foretold, paces};
use crate::store::{PageOf, UsageQuery, UserSort, UsersQuery};
use crate::web::breakdown::By;
use crate::web::links::{Query, encoded, user_path};
use crate::web::overview::View as Overview;
use crate::web::{operation, quickstart, user, users};

fn by(parameters: &mut Parameters) -> Option<By> {
    parameters.read("by", |name| By::parse(name).ok_or("must be feature, provider or model"))
}

fn month(app: &SharedApp, parameters: &mut Parameters) -> Month {
    parameters.read("month", Month::parse).unwrap_or_else(|| app.reads.now().month())
}

/// `GET /`: one month of everybody; before there is any, the quickstart.
pub(in crate::http) async fn overview(
    State(app): State<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (month, by) = (month(&app, &mut parameters), by(&mut parameters));
    let language =
        parameters.read("in", |name| quickstart::Language::parse(name).ok_or("must be curl, typescript or python"));
    parameters.finish()?;
    if app.reads.status().operations == 0 {
        let base = browser.base(&app);
        let page = quickstart::page(&browser.links, &base, app.access.is_open(), language.unwrap_or_default());
        return Ok(browser.answer(&page));
    }
    let mut view = Overview::read(&*app.reads, month, by.unwrap_or_default()).await?;
    let now = view.overview.as_of;
    if month == now.month() {
        let outlook = forecast::users::cost_of_all(&view.overview.days, now);
        view.band = outlook.map(|outlook| foretold::band(&outlook, view.cost()));
        view.ahead = paces::limits_ahead(&app, &view.overview.top_users, now).await;
    }
    Ok(browser.answer(&crate::web::overview::page(&view, &browser.links)))
}

/// `GET /users`
pub(in crate::http) async fn users(
    State(app): State<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (mut query, list) = users_query(&app, &mut parameters);
    parameters.finish()?;
    query.limit = users::ROWS;
    let page = app.reads.users(query.clone()).await?;
    let next = page.next.map(|after| crate::http::operator::seal_after(&app, &list, &after));
    let now = app.reads.now();
    let ahead = if query.month == now.month() { paces::limits_ahead(&app, &page.items, now).await } else { Vec::new() };
    let view = users::View { query, items: page.items, ahead, next, plans: app.reads.plans(), as_of: now };
    Ok(browser.answer(&users::page(&view, &browser.links)))
}

/// `GET /users/{userId}`
pub(in crate::http) async fn user(
    State(app): State<SharedApp>,
    browser: Browser,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (month, by) = (month(&app, &mut parameters), by(&mut parameters));
    let feature = parameters.read("feature", Name::new);
    let cursor = parameters.take("cursor");
    let before = match &cursor {
        None => None,
        Some(text) => {
            let number = app.open_cursor("usage", text).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
            if number.is_none() {
                parameters.wrong("cursor", CursorError.to_string());
            }
            number.map(u64::from_le_bytes)
        }
    };
    parameters.finish()?;
    let mut person = user::View::read(&*app.reads, &user_id, month, before).await?;
    if feature.is_some() {
        let reads = |page| {
            let (user_id, feature) = (user_id.clone(), feature.clone());
            app.reads.usage(UsageQuery {
                user_id,
                month: Some(month),
                feature,
                usage_type: None,
                session_id: None,
                page,
            })
        };
        person.usage = gathered(PageOf { before, limit: user::OPERATIONS }, reads).await?;
    }
    let plans = app.reads.plans();
    let budget = person.view.budget(&plans, &user_id, month, person.as_of).ok_or_else(|| not_loaded(month))?;
    let json = Json::with_room(1_024, |json| json.value(Worded(&budget, &app.presentation.now())));
    let next = person.usage.next.map(|next| app.cursor_of("usage", next));
    let forecast = if month == person.as_of.month() {
        let (user, history) = (person.view.user.as_deref(), &person.history);
        let known = Known { user, months: &history.months, days: &history.days, now: person.as_of };
        foretold::sentences(&foretold::of_user(&known, &budget, &app.presentation.now()))
    } else {
        Vec::new()
    };
    let view = user::View {
        user_id,
        month,
        by: by.unwrap_or_default(),
        feature,
        budget_json: String::from_utf8(json.into_bytes()).unwrap_or_default(),
        labels: app.presentation.now().labels.clone(),
        person,
        budget,
        plans,
        cursor,
        next,
        forecast,
    };
    Ok(browser.answer(&user::page(&view, &browser.links, browser.viewer)))
}

/// `GET /users/{userId}/operations/{operationId}`
pub(in crate::http) async fn operation(
    State(app): State<SharedApp>,
    browser: Browser,
    OfOperation(user_id, operation_id): OfOperation,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let operation = app.reads.operation(&user_id, &operation_id).await?;
    let operation = operation.ok_or_else(|| Problem::new(Kind::NotFound).detail("The user has no such operation."))?;
    let view = operation::View { user_id, operation, as_of: app.reads.now() };
    Ok(browser.answer(&operation::page(&view, &browser.links)))
}

/// `GET /search`: straight to what has exactly this id, else to the users that begin so. Spaces around it may be part of an
/// id, or come from where it was copied.
pub(in crate::http) async fn search(
    State(app): State<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let text = parameters.take("q").unwrap_or_default();
    let trimmed = text.trim();
    let texts = if trimmed == text { vec![trimmed] } else { vec![text.as_str(), trimmed] };
    let of = parameters.take("user").and_then(|user| UserId::new(&user).ok());
    parameters.finish()?;
    for text in &texts {
        if let Some(path) = exactly(&app, of.as_ref(), text).await? {
            return Ok(back(&path, None));
        }
    }
    let mut begins = trimmed;
    if texts.len() > 1 && any_begins(&app, &text).await? {
        begins = &text;
    }
    Ok(back(&format!("users{}", Query::new().with("q", begins).with("sort", "userId").as_str()), None))
}

/// The path of what has exactly this id: a session or an operation of the user who is looked at, else a user.
async fn exactly(app: &SharedApp, of: Option<&UserId>, text: &str) -> Result<Option<String>, Problem> {
    if let Some(user_id) = of {
        if let Ok(id) = SessionId::new(text)
            && app.reads.session(user_id, &id).await?.is_some()
        {
            return Ok(Some(format!("{}/sessions/{}", user_path(user_id), encoded(text))));
        }
        if let Ok(id) = OperationId::new(text)
            && app.reads.operation(user_id, &id).await?.is_some()
        {
            return Ok(Some(format!("{}/operations/{}", user_path(user_id), encoded(text))));
        }
    }
    let Ok(id) = UserId::new(text) else { return Ok(None) };
    let is_known = app.reads.view(&id, app.reads.now().month()).await?.user.is_some();
    Ok(is_known.then(|| user_path(&id)))
}

/// Whether there is a user whose id begins like this.
async fn any_begins(app: &SharedApp, text: &str) -> Result<bool, Problem> {
    let query = UsersQuery {
        month: app.reads.now().month(),
        sort: UserSort::UserId,
        descending: false,
        active: false,
        state: None,
        plan: None,
        prefix: Some(text.to_owned()),
        after: None,
        limit: 1,
    };
    Ok(!app.reads.users(query).await?.items.is_empty())
}
