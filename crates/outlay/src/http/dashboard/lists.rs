//! Sessions, alerts and denials, as lists and as CSV; and one session.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::Response;
use outlay_core::alert::Alert;
use outlay_core::budget::State;
use outlay_core::id::{Label, Name, UserId};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::Meter;
use outlay_core::session::SessionStatus;

use super::Browser;
use super::csv::{answer, lines, pages, tame};
use crate::http::SharedApp;
use crate::http::page::{CursorError, Parameters};
use crate::http::present::notice;
use crate::http::problem::Problem;
use crate::http::reading::OfSession;
use crate::store::outbox::{Delivery, EventKind, Receiver, WebhookRecord};
use crate::store::{NoticesQuery, Of, Page, PageOf, SessionsQuery, StoreError};
use crate::web::{notices, session, sessions};

/// Steps that are read at a time for CSV.
const STEPS: usize = 1_000;

/// A day as a form's date field has it.
fn day(text: &str) -> Result<Day, &'static str> {
    let at = Timestamp::parse(&format!("{text}T00:00:00Z"));
    at.map(Timestamp::day).map_err(|_| "must be a day, like 2025-10-13")
}

fn sessions_query(app: &SharedApp, parameters: &mut Parameters) -> (SessionsQuery, (Option<String>, Option<String>)) {
    let (from, to) = (parameters.read("from", day), parameters.read("to", day));
    let query = SessionsQuery {
        user_id: parameters.read("user", UserId::new),
        status: parameters.read("status", |text| {
            SessionStatus::parse(text).ok_or("must be in-progress, completed, failed or abandoned")
        }),
        feature: parameters.read("feature", Name::new),
        from: from.map(Day::start),
        // The day that is named is meant with all its hours.
        to: to.map(|day| day.start().plus_seconds(86_400)),
        page: parameters.page(app, "sessions"),
    };
    (query, (from.map(|day| day.to_string()), to.map(|day| day.to_string())))
}

/// `GET /sessions`
pub(in crate::http) async fn sessions(
    Shared(app): Shared<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (mut query, days) = sessions_query(&app, &mut parameters);
    parameters.finish()?;
    query.page.limit = sessions::ROWS;
    let shows_open = query.status.is_none() && query.page.before.is_none();
    let open = if shows_open {
        let status = Some(SessionStatus::InProgress);
        let page = PageOf { before: None, limit: sessions::OPEN };
        app.reads.sessions(SessionsQuery { status, page, ..query.clone() }).await?.items
    } else {
        Vec::new()
    };
    let page = gathered(query.page, |page| app.reads.sessions(SessionsQuery { page, ..query.clone() })).await?;
    let next = page.next.map(|next| app.cursor_of("sessions", next));
    let view = sessions::View { query, days, open, items: page.items, next, as_of: app.reads.now() };
    Ok(browser.answer(&sessions::page(&view, &browser.links)))
}

/// `GET /sessions.csv`
pub(in crate::http) async fn sessions_csv(
    Shared(app): Shared<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (query, _) = sessions_query(&app, &mut parameters);
    parameters.finish()?;
    let read = move |app: SharedApp, page| -> super::csv::PageReading<_> {
        let query = SessionsQuery { page, ..query.clone() };
        Box::pin(async move { app.reads.sessions(query).await })
    };
    let rows = pages(app, read, |_, of: &Of<outlay_core::session::Session>| {
        let session = &of.row;
        let held = session.held();
        vec![
            tame(session.session_id.as_str()),
            tame(of.user_id.as_ref().map(UserId::as_str).unwrap_or_default()),
            tame(session.feature.as_str()),
            session.status.as_str().to_owned(),
            session.steps.to_string(),
            session.total_cost.to_string(),
            session.total_runs.to_string(),
            held.usd().to_string(),
            held.ai_runs.to_string(),
            held.api_runs.to_string(),
            session.created_at.to_string(),
            session.completed_at.map(|at| at.to_string()).unwrap_or_default(),
        ]
    });
    let head = [
        "sessionId",
        "userId",
        "feature",
        "status",
        "steps",
        "totalCost",
        "totalRuns",
        "heldCost",
        "heldAiRuns",
        "heldApiRuns",
        "createdAt",
        "completedAt",
    ];
    Ok(answer("sessions", &head, rows))
}

/// `GET /users/{userId}/sessions/{sessionId}`
pub(in crate::http) async fn session(
    Shared(app): Shared<SharedApp>,
    browser: Browser,
    OfSession(user_id, session_id): OfSession,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let skip = parameters.read("stepsCursor", |text| {
        let place = app.open_cursor("steps", text)?;
        <[u8; 8]>::try_from(place.as_slice()).map(u64::from_le_bytes).map_err(|_| CursorError)
    });
    parameters.finish()?;
    let session = app.reads.session(&user_id, &session_id).await?;
    let session = session.ok_or_else(|| Problem::from(outlay_core::ledger::Rejection::UnknownSession))?;
    let steps = app.reads.steps(session.no, skip.unwrap_or(0), session::STEPS).await?;
    let last = steps.last().map(|step| step.step_position);
    let next = last.filter(|last| *last < session.steps).map(|last| app.cursor_of("steps", last));
    let view = session::View { user_id, session, steps, next, as_of: app.reads.now() };
    Ok(browser.answer(&session::page(&view, &browser.links)))
}

/// `GET /users/{userId}/sessions/{sessionId}/steps.csv`
pub(in crate::http) async fn steps_csv(
    Shared(app): Shared<SharedApp>,
    OfSession(user_id, session_id): OfSession,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let session = app.reads.session(&user_id, &session_id).await?;
    let session = session.ok_or_else(|| Problem::from(outlay_core::ledger::Rejection::UnknownSession))?;
    let rows = futures_util::stream::unfold(Some((app, 0)), move |state| async move {
        let (app, skip) = state?;
        match app.reads.steps(session.no, skip, STEPS).await {
            Ok(steps) => {
                let last = steps.last().map(|step| step.step_position).filter(|_| steps.len() == STEPS);
                Some((Ok::<_, StoreError>(lines(steps.iter().map(step))), last.map(|last| (app, last))))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    let head = [
        "stepNumber",
        "stepLabel",
        "operationId",
        "usageType",
        "feature",
        "provider",
        "model",
        "cost",
        "isBillableRun",
        "timestamp",
        "durationMs",
        "reversedBy",
        "trimmed",
    ];
    Ok(answer("steps", &head, rows))
}

fn step(step: &Operation) -> Vec<String> {
    vec![
        step.step_number.map(|number| number.to_string()).unwrap_or_default(),
        tame(step.step_label.as_ref().map(Label::as_str).unwrap_or_default()),
        tame(step.operation_id.as_str()),
        step.usage_type.as_str().to_owned(),
        tame(step.feature.as_str()),
        tame(step.provider.as_str()),
        tame(step.model.as_ref().map(Name::as_str).unwrap_or_default()),
        step.cost.to_string(),
        step.is_billable_run.to_string(),
        step.timestamp.to_string(),
        step.duration_ms.map(|millis| millis.to_string()).unwrap_or_default(),
        tame(step.reversed_by.as_ref().map(|(_, id)| id.as_str()).unwrap_or_default()),
        step.trimmed.to_string(),
    ]
}

/// Readings for one page, at most: a filter that lets through next to nothing shows a short page, and goes on.
const READINGS_MAX: usize = 50;

/// Reads on until a page is full: what a filter leaves of one reading may be short.
pub(super) async fn gathered<T, F>(page: PageOf, read: impl Fn(PageOf) -> F) -> Result<Page<T>, StoreError>
where
    F: Future<Output = Result<Page<T>, StoreError>>,
{
    let mut whole = read(page).await?;
    for _ in 1..READINGS_MAX {
        let (Some(before), true) = (whole.next, whole.items.len() < page.limit) else { break };
        let more = read(PageOf { before: Some(before), limit: page.limit }).await?;
        whole.items.extend(more.items);
        whole.next = more.next;
    }
    Ok(whole)
}

/// What is asked of alerts or denials; `list` is the list's tag.
fn notices_query(app: &SharedApp, parameters: &mut Parameters, list: &str) -> (NoticesQuery, notices::Asked) {
    parameters.drop_empty();
    let user_id = parameters.read("user", UserId::new);
    let month = parameters.read("month", Month::parse);
    let meter = if list == "alerts" {
        parameters.read("meter", |text| {
            let known = Meter::ALL.into_iter().find(|meter| meter.as_str() == text);
            known.ok_or("must be cost, aiRuns or apiRuns")
        })
    } else {
        None
    };
    let state = if list == "alerts" {
        let known = [State::Warning, State::Critical, State::Reached];
        let parse = |text: &str| known.into_iter().find(|state| state.as_str() == text);
        parameters.read("state", |text| parse(text).ok_or("must be warning, critical or reached"))
    } else {
        None
    };
    let page = parameters.page(app, list);
    let asked = notices::Asked {
        user_id: user_id.clone(),
        month,
        meter,
        state,
        goes_on: page.before.is_some(),
        next: None,
        as_of: app.reads.now(),
    };
    (NoticesQuery { user_id, month, page }, asked)
}

/// `GET /alerts`
pub(in crate::http) async fn alerts(
    Shared(app): Shared<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let (mut query, mut asked) = notices_query(&app, &mut parameters, "alerts");
    parameters.finish()?;
    query.page.limit = notices::ROWS;
    let page = gathered(query.page, |page| {
        let (query, app, asked) = (NoticesQuery { page, ..query.clone() }, &app, &asked);
        async move {
            let mut page = app.reads.alerts(query).await?;
            page.items.retain(|of| asked.takes(&of.row));
            Ok(page)
        }
    })
    .await?;
    asked.next = page.next.map(|next| app.cursor_of("alerts", next));
    let numbers = page.items.iter().map(|of| of.row.no.0).collect();
    let told = app.reads.deliveries_about(EventKind::ThresholdCrossed, numbers).await?;
    let told = notices::Told { deliveries: told, webhooks: app.reads.webhooks(), viewer: browser.viewer };
    Ok(browser.answer(&notices::alerts_page(&asked, &page.items, &told, &browser.links)))
}

/// `GET /denials`
pub(in crate::http) async fn denials(
    Shared(app): Shared<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let (mut query, mut asked) = notices_query(&app, &mut parameters, "denials");
    parameters.finish()?;
    query.page.limit = notices::ROWS;
    let page = app.reads.denials(query).await?;
    asked.next = page.next.map(|next| app.cursor_of("denials", next));
    Ok(browser.answer(&notices::denials_page(&asked, &page.items, &browser.links)))
}

/// `GET /alerts.csv`
pub(in crate::http) async fn alerts_csv(
    Shared(app): Shared<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let (query, asked) = notices_query(&app, &mut parameters, "alerts");
    parameters.finish()?;
    let asked = Arc::new(asked);
    let read = move |app: SharedApp, page| -> super::csv::PageReading<_> {
        let (query, asked) = (NoticesQuery { page, ..query.clone() }, Arc::clone(&asked));
        Box::pin(async move {
            let Page { mut items, next } = app.reads.alerts(query).await?;
            items.retain(|of| asked.takes(&of.row));
            let numbers = items.iter().map(|of| of.row.no.0).collect();
            let told = app.reads.deliveries_about(EventKind::ThresholdCrossed, numbers).await?;
            let with_told = |of: Of<Alert>| {
                let told = told.iter().filter(|delivery| delivery.about == of.row.no.0).cloned().collect();
                (of, told)
            };
            Ok(Page { items: items.into_iter().map(with_told).collect(), next })
        })
    };
    let rows = pages(app, read, |app, (of, told): &(Of<Alert>, Vec<Delivery>)| {
        let alert = &of.row;
        let amount = |amount: i64| match alert.key.meter {
            Meter::Cost => outlay_core::money::Usd::from_picos(amount).to_string(),
            Meter::AiRuns | Meter::ApiRuns => amount.to_string(),
        };
        vec![
            alert.recorded_at.to_string(),
            tame(of.user_id.as_ref().map(UserId::as_str).unwrap_or_default()),
            alert.month.to_string(),
            alert.key.meter.to_string(),
            alert.key.threshold.to_string(),
            amount(alert.used),
            amount(alert.key.limit),
            tame(alert.plan.as_str()),
            notice::untold(alert).unwrap_or_default().to_owned(),
            told_in_words(told, &app.reads.webhooks()),
        ]
    });
    let head =
        ["recordedAt", "userId", "month", "meter", "threshold", "used", "limit", "plan", "notSent", "deliveries"];
    Ok(answer("alerts", &head, rows))
}

/// `email user delivered; webhook webhook_7Qm2ZkXv1rT9bLcE pending`, by the words of the API.
fn told_in_words(told: &[Delivery], webhooks: &[WebhookRecord]) -> String {
    let words = told.iter().map(|delivery| {
        let to = match delivery.receiver {
            Receiver::UserMail => "email user",
            Receiver::OperatorMail => "email operator",
            Receiver::Webhook(no) => {
                let known = webhooks.iter().find(|webhook| webhook.no == no);
                return match known {
                    Some(webhook) => format!("webhook {} {}", webhook.id, delivery.state.as_str()),
                    None => format!("webhook {}", delivery.state.as_str()),
                };
            }
        };
        format!("{to} {}", delivery.state.as_str())
    });
    words.collect::<Vec<_>>().join("; ")
}

/// `GET /denials.csv`
pub(in crate::http) async fn denials_csv(
    Shared(app): Shared<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let (query, _) = notices_query(&app, &mut parameters, "denials");
    parameters.finish()?;
    let read = move |app: SharedApp, page| -> super::csv::PageReading<_> {
        let query = NoticesQuery { page, ..query.clone() };
        Box::pin(async move { app.reads.denials(query).await })
    };
    let rows = pages(app, read, |_, of: &Of<outlay_core::denial::Denial>| {
        let denial = &of.row;
        let failed: Vec<&str> = denial.failed.iter().map(Meter::as_str).collect();
        vec![
            denial.recorded_at.to_string(),
            tame(of.user_id.as_ref().map(UserId::as_str).unwrap_or_default()),
            tame(denial.feature.as_str()),
            tame(denial.session_id.as_ref().map(outlay_core::id::SessionId::as_str).unwrap_or_default()),
            tame(denial.reason.as_str()),
            failed.join(" "),
            tame(denial.next_plan.as_ref().map(Name::as_str).unwrap_or_default()),
            denial.times.to_string(),
            denial.source.as_str().to_owned(),
        ]
    });
    let head = ["recordedAt", "userId", "feature", "sessionId", "reason", "failed", "nextPlan", "times", "source"];
    Ok(answer("denials", &head, rows))
}
