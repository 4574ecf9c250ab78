//! Alerts that the ledger wrote.

use axum::extract::State;
use axum::response::Response;
use outlay_core::id::UserId;
use outlay_core::month::Month;

use super::page::Parameters;
use super::present::notice;
use super::problem::Problem;
use super::reading::page;
use super::{SharedApp, schemas};
use crate::store::NoticesQuery;
use crate::store::outbox::EventKind;

/// List alerts
///
/// Newest first, each with how it was told. An alert is made once per user, month, meter, threshold and limit.
#[utoipa::path(get, path = "/v1/alerts", tag = "Operator",
    operation_id = "listAllAlerts",
    params(schemas::UserQuery, schemas::MonthQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Alerts),
        schemas::ReadProblems))]
pub(super) async fn list_all(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let user_id = parameters.read("userId", UserId::new);
    let month = parameters.read("month", Month::parse);
    let query = NoticesQuery { user_id, month, page: parameters.page(&app, "alerts") };
    parameters.finish()?;
    let alerts = app.reads.alerts(query).await?;
    let numbers = alerts.items.iter().map(|of| of.row.no.0).collect();
    let told = app.reads.deliveries_about(EventKind::ThresholdCrossed, numbers).await?;
    let (webhooks, deployment_id) = (app.reads.webhooks(), app.reads.deployment_id());
    // They come in the order of the alerts.
    let mut rest = told.as_slice();
    Ok(page(&app, "alerts", &alerts, |object, of| {
        let own = rest.iter().take_while(|delivery| delivery.about == of.row.no.0).count();
        let (deliveries, after) = rest.split_at(own);
        rest = after;
        let told = notice::Told { deliveries, webhooks: &webhooks };
        notice::alert(object, &of.row, of.user_id.as_ref(), deployment_id, told);
    }))
}
