//! The audit log as a page, and as CSV.

use axum::extract::State;
use axum::response::Response;
use outlay_core::id::UserId;

use super::Browser;
use super::csv::{PageReading, answer, pages, tame};
use super::lists::gathered;
use crate::audit::Entry;
use crate::http::SharedApp;
use crate::http::audit::{LIST, query};
use crate::http::page::Parameters;
use crate::http::problem::Problem;
use crate::store::{AuditQuery, Of};
use crate::web::audit::{Asked, ROWS, page};

/// `GET /audit`
pub(in crate::http) async fn audit(
    State(app): State<SharedApp>,
    browser: Browser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let mut query = query(&app, &mut parameters, "user");
    parameters.finish()?;
    query.page.limit = ROWS;
    let entries = gathered(query.page, |page| app.reads.audit(AuditQuery { page, ..query.clone() })).await?;
    let asked = Asked {
        user_id: query.user_id,
        user_number: query.user_no.map(|no| no.0),
        action: query.action,
        who: query.who,
        from: query.from,
        to: query.to,
        goes_on: query.page.before.is_some(),
        next: entries.next.map(|next| app.cursor_of(LIST, next)),
        as_of: app.reads.now(),
    };
    Ok(browser.answer(&page(&asked, &entries.items, &app.reads.webhooks(), &browser.links)))
}

/// `GET /audit.csv`
pub(in crate::http) async fn audit_csv(
    State(app): State<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let query = query(&app, &mut parameters, "user");
    parameters.finish()?;
    let read = move |app: SharedApp, page| -> PageReading<_> {
        let query = AuditQuery { page, ..query.clone() };
        Box::pin(async move { app.reads.audit(query).await })
    };
    let rows = pages(app, read, |_, of: &Of<Entry>| {
        let entry = &of.row;
        let text = |text: Option<&str>| tame(text.unwrap_or_default());
        vec![
            entry.no.to_string(),
            entry.at.to_string(),
            tame(&entry.actor.who),
            entry.actor.address.map(|address| address.to_string()).unwrap_or_default(),
            text(entry.actor.request_id.as_deref()),
            tame(&entry.action),
            text(entry.subject.as_deref()),
            text(of.user_id.as_ref().map(UserId::as_str)),
            entry.user_no.map(|no| no.0.to_string()).unwrap_or_default(),
            text(entry.before.as_deref()),
            text(entry.after.as_deref()),
        ]
    });
    let head = [
        "number",
        "recordedAt",
        "who",
        "address",
        "requestId",
        "action",
        "subject",
        "userId",
        "userNumber",
        "before",
        "after",
    ];
    Ok(answer("audit", &head, rows))
}
