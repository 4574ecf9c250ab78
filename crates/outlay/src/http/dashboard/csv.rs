//! The same as CSV: rows as they are read, page by page, so that a long list needs no more memory than a short one.

use std::pin::Pin;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use outlay_core::id::Name;
use outlay_core::ledger::budget;
use outlay_core::month::{Day, Month};
use outlay_core::plan::Meter;

use crate::http::operator::users_query;
use crate::http::page::Parameters;
use crate::http::problem::Problem;
use crate::http::reading::OfUser;
use crate::http::{App, SharedApp};
use crate::store::{OverviewQuery, Page, PageOf, StoreError, UsageQuery};
use crate::sums::by_day;

/// Rows that are read at a time.
const ROWS: usize = 1_000;

/// Text that no spreadsheet takes for a formula: an id is whatever the application chose.
pub(super) fn tame(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// Rows as lines.
pub(super) fn lines<R: IntoIterator<Item = String>>(rows: impl IntoIterator<Item = R>) -> Bytes {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory cannot fail, and each row has as many fields as the head.
        let _ = writer.write_record(row);
    }
    writer.into_inner().unwrap_or_default().into()
}

/// A head, and rows as they come. A failure in the middle cuts the answer, so that it is not taken for whole.
pub(super) fn answer<S>(name: &str, head: &[&str], rows: S) -> Response
where
    S: Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
{
    let head = lines([head.iter().map(|column| (*column).to_owned())]);
    let body = Body::from_stream(stream::once(std::future::ready(Ok(head))).chain(rows));
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"outlay-{name}.csv\""));
    let disposition = disposition.unwrap_or(HeaderValue::from_static("attachment"));
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")), (CONTENT_DISPOSITION, disposition)];
    (headers, body).into_response()
}

/// The reading of one page.
pub(super) type PageReading<T> = Pin<Box<dyn Future<Output = Result<Page<T>, StoreError>> + Send>>;

/// A list of numbered rows, page after page.
pub(super) fn pages<T, F, R>(app: SharedApp, read: F, row: R) -> impl Stream<Item = Result<Bytes, StoreError>> + Send
where
    T: Send + 'static,
    F: Fn(SharedApp, PageOf) -> std::pin::Pin<Box<dyn Future<Output = Result<Page<T>, StoreError>> + Send>>
        + Send
        + 'static,
    R: Fn(&App, &T) -> Vec<String> + Send + 'static,
{
    stream::unfold(Some((None, read, row)), move |state| {
        let app = SharedApp::clone(&app);
        async move {
            let (before, read, row) = state?;
            match read(SharedApp::clone(&app), PageOf { before, limit: ROWS }).await {
                Ok(page) => {
                    let rows = lines(page.items.iter().map(|item| row(&app, item)));
                    Some((Ok(rows), page.next.map(|next| (Some(next), read, row))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

/// `GET /overview.csv`: each day of the month.
pub(in crate::http) async fn overview_csv(
    State(app): State<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse).unwrap_or_else(|| app.reads.now().month());
    parameters.finish()?;
    let overview = app.reads.overview(OverviewQuery { month, months_before: 0, newest: 0 }).await?;
    let today = overview.as_of.day();
    let last = if today.month() == month { today } else { Day::new(month, month.days()) };
    let days = by_day(Day::new(month, 1), last, overview.days.iter().filter(|(day, ..)| day.month() == month));
    let rows = lines(days.iter().map(|(day, totals)| {
        let all = totals.all();
        [
            day.to_string(),
            all.cost.to_string(),
            all.operations.to_string(),
            totals.ai.billable_runs.to_string(),
            totals.api.billable_runs.to_string(),
        ]
    }));
    let head = ["day", "cost", "operations", "aiRuns", "apiRuns"];
    Ok(answer(&month.to_string(), &head, stream::once(std::future::ready(Ok(rows)))))
}

/// `GET /users.csv`
pub(in crate::http) async fn users_csv(
    State(app): State<SharedApp>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.drop_empty();
    let (mut query, _) = users_query(&app, &mut parameters);
    parameters.finish()?;
    query.limit = ROWS;
    let name = format!("users-{}", query.month);
    let rows = stream::unfold(Some((app, query)), |state| async move {
        let (app, mut query) = state?;
        let page = match app.reads.users(query.clone()).await {
            Ok(page) => page,
            Err(error) => return Some((Err(error), None)),
        };
        let plans = app.reads.plans();
        let rows = lines(page.items.iter().map(|item| {
            let user = &item.user;
            let budget = budget(&plans, Some(user), &user.user_id, item.month.month, &item.month.used, &item.held);
            let limit = |meter: Meter| budget.meters.get(meter).limit;
            let runs = |meter| limit(meter).map(|limit| limit.to_string()).unwrap_or_default();
            let usd = |picos: i64| outlay_core::money::Usd::from_picos(picos).to_string();
            vec![
                tame(user.user_id.as_str()),
                tame(budget.plan.as_str()),
                usd(item.month.used.cost),
                limit(Meter::Cost).map(usd).unwrap_or_default(),
                item.month.used.ai_runs.to_string(),
                runs(Meter::AiRuns),
                item.month.used.api_runs.to_string(),
                runs(Meter::ApiRuns),
                budget.state().as_str().to_owned(),
                item.month.operations.to_string(),
                item.month.last_updated_at.map(|at| at.to_string()).unwrap_or_default(),
            ]
        }));
        let next = page.next.map(|after| {
            query.after = Some(after);
            (app, query)
        });
        Some((Ok(rows), next))
    });
    let head = [
        "userId",
        "plan",
        "cost",
        "costLimit",
        "aiRuns",
        "aiRunsLimit",
        "apiRuns",
        "apiRunsLimit",
        "state",
        "operations",
        "lastSeenAt",
    ];
    Ok(answer(&name, &head, rows))
}

/// `GET /users/{userId}/usage.csv`: a user's operations.
pub(in crate::http) async fn usage_csv(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse);
    let feature = parameters.read("feature", Name::new);
    parameters.finish()?;
    let rows = pages(
        app,
        move |app, page| {
            let query = UsageQuery {
                user_id: user_id.clone(),
                month,
                feature: feature.clone(),
                usage_type: None,
                session_id: None,
                page,
            };
            Box::pin(async move { app.reads.usage(query).await })
        },
        |_, operation| {
            let some = |number: Option<String>| number.unwrap_or_default();
            let tokens = operation.tokens;
            vec![
                tame(operation.operation_id.as_str()),
                operation.timestamp.to_string(),
                operation.usage_type.as_str().to_owned(),
                tame(operation.feature.as_str()),
                tame(operation.provider.as_str()),
                tame(operation.model.as_ref().map(Name::as_str).unwrap_or_default()),
                operation.cost.to_string(),
                operation.is_billable_run.to_string(),
                some(tokens.map(|tokens| tokens.input.to_string())),
                some(tokens.map(|tokens| tokens.output.to_string())),
                tame(operation.session.as_ref().map(|(_, id)| id.as_str()).unwrap_or_default()),
                tame(operation.step_label.as_ref().map(outlay_core::id::Label::as_str).unwrap_or_default()),
                some(operation.duration_ms.map(|millis| millis.to_string())),
                operation.recorded_at.to_string(),
                tame(operation.reverses.as_ref().map(|(_, id)| id.as_str()).unwrap_or_default()),
                operation.trimmed.to_string(),
            ]
        },
    );
    let head = [
        "operationId",
        "timestamp",
        "usageType",
        "feature",
        "provider",
        "model",
        "cost",
        "isBillableRun",
        "inputTokens",
        "outputTokens",
        "sessionId",
        "stepLabel",
        "durationMs",
        "recordedAt",
        "reverses",
        "trimmed",
    ];
    Ok(answer("usage", &head, rows))
}
