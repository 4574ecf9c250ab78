//! Plans and settings, and the forms that change them.

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use outlay_core::budget::{MeterBudget, State as BudgetState};
use outlay_core::id::{Name, UserId};
use outlay_core::ledger::budget;
use outlay_core::month::Timestamp;
use outlay_core::plan::{Limits, Meter};
use secrecy::ExposeSecret;

use super::Browser;
use super::change::limit_of;
use crate::audit::Actor;
use crate::http::json::Json;
use crate::http::page::Parameters;
use crate::http::present::Worded;
use crate::http::problem::{Kind, Problem};
use crate::http::reading::{OfName, not_loaded, view};
use crate::http::sign_in::form_fields;
use crate::http::{SharedApp, keys};
use crate::store::records::Role;
use crate::store::{UserSort, UsersQuery};
use crate::web::plans::{Editing, Preview, View as Plans, typed};
use crate::web::settings;

/// Users that are looked at in one go for a preview.
const PREVIEW_USERS: usize = 1_000;

/// `GET /plans`
pub(in crate::http) async fn plans(
    State(app): State<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let edit = parameters.take("edit");
    parameters.finish()?;
    let all = app.reads.plans();
    let editing = edit.and_then(|name| all.get(&name)).map(|plan| Editing {
        name: plan.name.clone(),
        typed: Meter::ALL.map(|meter| typed(meter, *plan.limits.get(meter))),
        errors: Vec::new(),
        preview: None,
    });
    Ok(browser.answer(&crate::web::plans::page(&plans_view(&app, editing).await?, &browser.links, browser.viewer)))
}

async fn plans_view(app: &SharedApp, editing: Option<Editing>) -> Result<Plans, Problem> {
    let plans = app.reads.plans();
    let mut users = vec![0; plans.all().len()];
    for (own, count) in app.reads.users_by_plan().await? {
        let effective = plans.effective(own.as_ref()).map(|plan| &plan.name);
        let place = plans.all().iter().position(|plan| Some(&plan.name) == effective);
        if let Some(sum) = place.and_then(|place| users.get_mut(place)) {
            *sum += count;
        }
    }
    Ok(Plans { plans, users, are_configured: app.plans_are_configured, editing, as_of: app.reads.now() })
}

/// `POST /plans/{name}`: shows what it would do, or does it.
pub(in crate::http) async fn set_plan(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    OfName(name): OfName,
    body: Bytes,
) -> Result<Response, Problem> {
    if app.reads.plans().get(name.as_str()).is_none() {
        return Err(Problem::new(Kind::NotFound).detail("There is no such plan."));
    }
    let mut fields = form_fields(&body);
    let typed = Meter::ALL.map(|meter| fields.take(meter.as_str()).unwrap_or_default());
    let what = fields.take("do").unwrap_or_default();
    fields.finish()?;
    let mut errors = Vec::new();
    let mut limits = Limits::default();
    for (meter, text) in Meter::ALL.into_iter().zip(&typed) {
        match limit_of(meter, text) {
            Ok(Some(limit)) => *limits.get_mut(meter) = limit,
            Ok(None) => errors.push(format!("{}: is required.", crate::web::format::meter(meter))),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() && what == "save" {
        if app.plans_are_configured {
            return Err(Problem::new(Kind::PlansAreConfigured)
                .detail("The plans stand in the configuration: change them there, and start the server again."));
        }
        crate::http::plans::change(&app, &actor, name, limits, None).await?;
        return Ok(browser.lead_to("plans"));
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let preview = if errors.is_empty() { Some(preview(&app, &name, limits).await?) } else { None };
    let view = plans_view(&app, Some(Editing { name, typed, errors, preview })).await?;
    Ok(browser.answer_with(status, &crate::web::plans::page(&view, &browser.links, browser.viewer)))
}

/// How the states of a plan's users would change, this month.
async fn preview(app: &SharedApp, name: &Name, limits: Limits) -> Result<Preview, Problem> {
    let plans = app.reads.plans();
    let mut query = UsersQuery {
        month: app.reads.now().month(),
        sort: UserSort::UserId,
        descending: false,
        active: false,
        state: None,
        plan: Some(name.clone()),
        prefix: None,
        after: None,
        limit: PREVIEW_USERS,
    };
    let mut preview = Preview { limits, now: [0; 4], then: [0; 4] };
    loop {
        let page = app.reads.users(query.clone()).await?;
        for item in &page.items {
            let user = &item.user;
            let budget = budget(&plans, Some(user), &user.user_id, item.month.month, &item.month.used, &item.held);
            let own = user.overrides.over(&limits);
            let then =
                budget.meters.iter().map(|(meter, of)| MeterBudget { limit: *own.get(meter), ..*of }.state()).max();
            count(&mut preview.now, budget.state());
            count(&mut preview.then, then.unwrap_or_default());
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(preview);
        }
    }
}

fn count(counts: &mut [u64; 4], state: BudgetState) {
    let place = BudgetState::ALL.iter().position(|of| *of == state);
    if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
        *count += 1;
    }
}

/// `GET /settings`
pub(in crate::http) async fn settings(
    State(app): State<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let card = parameters.read("card", UserId::new);
    parameters.finish()?;
    let view = settings_view(&app, &browser, card).await?;
    Ok(browser.answer(&settings::page(&view, &browser.links, browser.viewer)))
}

pub(super) async fn settings_view(
    app: &SharedApp,
    browser: &Browser,
    card: Option<UserId>,
) -> Result<settings::View, Problem> {
    let now = app.reads.now();
    let card = match card {
        None => None,
        Some(user_id) => {
            let month = now.month();
            let seen = view(app, &user_id, month).await?;
            let budget = seen.budget(&app.reads.plans(), &user_id, month, now).ok_or_else(|| not_loaded(month))?;
            let json = Json::with_room(1_024, |json| json.value(Worded(&budget, &app.presentation.now())));
            Some((user_id.as_str().to_owned(), String::from_utf8(json.into_bytes()).unwrap_or_default()))
        }
    };
    let origins = app.access.allowed_origins().iter().filter_map(|origin| origin.to_str().ok());
    Ok(settings::View {
        keys: browser.viewer.is_admin().then(|| app.reads.keys()),
        told: crate::web::telling::Told {
            webhooks: browser.viewer.is_admin().then(|| app.reads.webhooks()),
            mail_to_users: app.senders.post.as_ref().is_some_and(|post| post.to_users),
            operator: app.senders.post.as_ref().and_then(|post| post.operator.as_ref()).map(ToString::to_string),
            ..crate::web::telling::Told::default()
        },
        made: None,
        error: None,
        presentation: app.presentation.now().as_ref().clone(),
        base: browser.base(app),
        allowed_origins: origins.map(str::to_owned).collect(),
        status: app.reads.status(),
        waiting: app.writer.counts().queued,
        card,
        default_plan: app.reads.plans().default_plan().as_str().to_owned(),
        alerts: app.reads.plans().alerts().clone(),
        keep_details_days: app.retention.days(),
        open: app.access.is_open(),
        as_of: now,
    })
}

/// `POST /settings/keys`: makes a key, and shows it this once.
pub(in crate::http) async fn make_key(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    body: Bytes,
) -> Result<Response, Problem> {
    let now = app.clock.wall();
    let mut fields = form_fields(&body);
    let role = fields.take("role").and_then(|role| Role::parse(&role));
    let description = fields.take("description").unwrap_or_default();
    let expires = fields.take("expires").filter(|day| !day.is_empty());
    let expires_at = expires.as_ref().map(|day| Timestamp::parse(&format!("{day}T00:00:00Z")));
    let mut view = settings_view(&app, &browser, None).await?;
    view.error = if role.is_none() {
        Some("The role must be viewer, app or admin.".to_owned())
    } else if !keys::is_description(&description) {
        Some("What it is for must have at most 256 characters.".to_owned())
    } else if expires_at.as_ref().is_some_and(|end| end.as_ref().is_ok_and(|end| *end <= now) || end.is_err()) {
        Some("The end must be a day to come.".to_owned())
    } else {
        None
    };
    let (Some(role), None) = (role, &view.error) else {
        let page = settings::page(&view, &browser.links, browser.viewer);
        return Ok(browser.answer_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    let (key, record) = keys::make(role, description, expires_at.and_then(Result::ok), &app.ids, now)
        .map_err(|error| Problem::new(Kind::Internal).because(error))?;
    keys::keep(&app, &actor, &record).await?;
    view.keys = Some(app.reads.keys());
    view.made = Some(key.expose_secret().to_owned());
    Ok(browser.answer_with(StatusCode::CREATED, &settings::page(&view, &browser.links, browser.viewer)))
}

/// `POST /settings/keys/{keyId}/revoke`
pub(in crate::http) async fn revoke_key(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    keys::end(&app, &actor, path.as_ref().map(|Path(id)| id.as_str())).await?;
    Ok(browser.lead_to("settings"))
}
