//! The forms that change one user: plan and limits, a token, erasing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use outlay_core::alert::crossed;
use outlay_core::id::{Name, UserId};
use outlay_core::ledger::{Command, Outcome, UserView, budget};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::plan::{Limit, Limits, Meter, Overrides, PerMeter, RUNS_LIMIT_MAX};
use outlay_core::user::User;

use super::Browser;
use crate::audit::Actor;
use crate::http::SharedApp;
use crate::http::problem::Problem;
use crate::http::reading::{OfUser, not_loaded, unexpected, view};
use crate::http::sign_in::form_fields;
use crate::http::tokens::{self, Readable};
use crate::http::users::is_address;
use crate::web::change::{Made, Preview, SettingsView, erase_page, settings_page, token_page};
use crate::web::links::user_path;
use crate::web::{format, plans::typed};

/// A limit as somebody typed it: nothing is `None`, `unlimited` no limit.
pub(super) fn limit_of(meter: Meter, text: &str) -> Result<Option<Limit>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(Some(None));
    }
    let name = format::meter(meter);
    match meter {
        Meter::Cost => {
            let text = text.strip_prefix('$').unwrap_or(text);
            Usd::parse_limit(text).map(|limit| Some(Some(limit.picos()))).map_err(|error| format!("{name}: {error}."))
        }
        Meter::AiRuns | Meter::ApiRuns => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let runs = text.parse().ok().filter(|runs| digits && (0..=RUNS_LIMIT_MAX).contains(runs));
            runs.map(|runs| Some(Some(runs)))
                .ok_or_else(|| format!("{name}: must be a whole number from 0, or unlimited."))
        }
    }
}

/// `GET /users/{userId}/settings`
pub(in crate::http) async fn set_form(
    State(app): State<SharedApp>,
    browser: Browser,
    OfUser(user_id): OfUser,
) -> Result<Response, Problem> {
    let seen = view(&app, &user_id, app.reads.now().month()).await?;
    let user = seen.user.as_deref();
    let overrides = user.map_or_else(Overrides::default, |user| user.overrides);
    let field = |meter: Meter| overrides.get(meter).map(|limit| typed(meter, limit)).unwrap_or_default();
    let view = SettingsView {
        plans: app.reads.plans(),
        plan: user.and_then(|user| user.plan.as_ref()).map(|plan| plan.as_str().to_owned()).unwrap_or_default(),
        email: user.and_then(|user| user.email.as_deref()).unwrap_or_default().to_owned(),
        typed: Meter::ALL.map(field),
        errors: Vec::new(),
        preview: None,
        as_of: app.reads.now(),
        user_id,
    };
    Ok(browser.answer(&settings_page(&view, &browser.links)))
}

/// `POST /users/{userId}/settings`: shows what it would do, or does it.
pub(in crate::http) async fn set(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    OfUser(user_id): OfUser,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut fields = form_fields(&body);
    let what = fields.take("do").unwrap_or_default();
    // A browser sends them all, empty ones too: what is missing was lost, and must not be taken for an emptied field.
    let mut take = |name: &str| {
        fields.take(name).unwrap_or_else(|| {
            fields.wrong(name, "is missing");
            String::new()
        })
    };
    let (plan, email) = (take("plan"), take("email"));
    let typed = Meter::ALL.map(|meter| take(meter.as_str()));
    fields.finish()?;
    let plans = app.reads.plans();
    let mut errors = Vec::new();
    let mut overrides = Overrides::default();
    for (meter, text) in Meter::ALL.into_iter().zip(&typed) {
        match limit_of(meter, text) {
            Ok(limit) => *overrides.get_mut(meter) = limit,
            Err(error) => errors.push(error),
        }
    }
    let chosen = Some(plan.as_str()).filter(|plan| !plan.is_empty());
    let chosen = chosen.and_then(|plan| plans.get(plan)).map(|plan| plan.name.clone());
    if chosen.is_none() && !plan.is_empty() {
        errors.push("There is no such plan.".to_owned());
    }
    let email = email.trim().to_owned();
    if !email.is_empty() && !is_address(&email) {
        errors.push("E-mail: must be an address.".to_owned());
    }
    if errors.is_empty() && what == "save" {
        let address = (!email.is_empty()).then(|| Arc::from(email.as_str()));
        let command = Command::PutUser { user_id: user_id.clone(), plan: chosen, email: address, overrides };
        return match app.writer.submit_as(&actor, command).await? {
            Outcome::User { .. } => Ok(browser.lead_to(&user_path(&user_id))),
            other => Err(unexpected(&other)),
        };
    }
    let now = app.reads.now();
    let seen = view(&app, &user_id, now.month()).await?;
    let preview =
        if errors.is_empty() { Some(preview(&app, &user_id, &seen, chosen.as_ref(), overrides, now)?) } else { None };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = SettingsView { user_id, plans, plan, email, typed, errors, preview, as_of: now };
    Ok(browser.answer_with(status, &settings_page(&view, &browser.links)))
}

/// What a change would do, by the ledger's own rules.
fn preview(
    app: &SharedApp,
    user_id: &UserId,
    seen: &UserView,
    plan: Option<&Name>,
    overrides: Overrides,
    now: Timestamp,
) -> Result<Preview, Problem> {
    let month = now.month();
    let plans = app.reads.plans();
    let row = seen.month(month).ok_or_else(|| not_loaded(month))?;
    let before = seen.budget(&plans, user_id, month, now).ok_or_else(|| not_loaded(month))?;
    let of_plan = plans.effective(plan).map_or_else(Limits::default, |plan| plan.limits);
    let limits = overrides.over(&of_plan);
    let changed = seen.user.as_deref().map(|user| User { plan: plan.cloned(), overrides, ..user.clone() });
    let held = seen.held.at(month, now);
    let mut after = budget(&plans, changed.as_ref(), user_id, month, &row.used, &held);
    // Of one whom nobody has seen there is no row to change.
    after.meters = PerMeter::from_fn(|meter| outlay_core::budget::MeterBudget {
        limit: *limits.get(meter),
        ..*after.meters.get(meter)
    });
    let thresholds = plans.thresholds_of(&after.plan);
    let raised = crossed(&row.used, &limits, thresholds, &row.raised);
    Ok(Preview { before, after, raised })
}

/// `GET /users/{userId}/token`
pub(in crate::http) async fn token_form(browser: Browser, OfUser(user_id): OfUser) -> Response {
    browser.answer(&token_page(&user_id, None, false, "", &browser.links, browser.viewer))
}

/// `POST /users/{userId}/token`
pub(in crate::http) async fn token(
    State(app): State<SharedApp>,
    browser: Browser,
    OfUser(user_id): OfUser,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut fields = form_fields(&body);
    let ttl = fields.number("ttl", 60..=86_400, 3_600);
    let readable = [("sessions", Readable::Sessions), ("usage", Readable::Usage)];
    let reads: Vec<Readable> =
        readable.into_iter().filter(|(name, _)| fields.take(name).is_some()).map(|(_, of)| of).collect();
    fields.finish()?;
    let seconds = i64::try_from(ttl).unwrap_or(3_600);
    let made_at = app.clock.wall();
    let (token, expires_at) = tokens::make(&app, &user_id, &reads, seconds).await?;
    let address = format!("{}/my", browser.base(&app));
    let made = Made { token, expires_at, made_at };
    let page = token_page(&user_id, Some(&made), false, &address, &browser.links, browser.viewer);
    Ok(browser.answer_with(StatusCode::OK, &page))
}

/// `POST /users/{userId}/token/end`: ends all tokens of the user.
pub(in crate::http) async fn end_tokens(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    OfUser(user_id): OfUser,
) -> Result<Response, Problem> {
    tokens::end_all(&app, &actor, &user_id).await?;
    Ok(browser.answer(&token_page(&user_id, None, true, "", &browser.links, browser.viewer)))
}

/// `GET /users/{userId}/erase`
pub(in crate::http) async fn erase_form(browser: Browser, OfUser(user_id): OfUser) -> Response {
    browser.answer(&erase_page(&user_id, None, &browser.links))
}

/// `POST /users/{userId}/erase`
pub(in crate::http) async fn erase(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    OfUser(user_id): OfUser,
    body: Bytes,
) -> Result<Response, Problem> {
    if form_fields(&body).take("confirm").as_deref() != Some(user_id.as_str()) {
        let page = erase_page(&user_id, Some("This is not the id. Nothing was erased."), &browser.links);
        return Ok(browser.answer_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
    }
    match app.writer.submit_as(&actor, Command::Erase { user_id }).await? {
        Outcome::Done => Ok(browser.lead_to("users")),
        other => Err(unexpected(&other)),
    }
}
