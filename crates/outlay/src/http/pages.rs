//! What the server's own HTML pages share: their frame, their style, and the headers that let them do nothing else.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use maud::{DOCTYPE, Markup, html};

use super::SharedApp;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A whole page. Its links are relative, since the server may be reached below a path; `root` leads to its first page,
/// like `../`.
pub(super) fn page(root: &str, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Outlay" }
                link rel="stylesheet" href={ (root) "pages.css" };
            }
            body { main { (content) } }
        }
    }
}

/// A page as an answer.
pub(super) fn answer(page: impl Into<Body>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
        ),
    ];
    (headers, page.into()).into_response()
}

/// `GET /pages.css`
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"))], include_str!("pages.css")).into_response()
}

/// `GET /`: what runs here, and the first commands.
pub(super) async fn first(State(app): State<SharedApp>, headers: HeaderMap) -> Response {
    let open = app.access.is_open();
    // Only for a command to copy; it is escaped like any text, and no link is made of it.
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:4780");
    let own = format!("http://{host}");
    let base = app.presentation.public_url.as_deref().unwrap_or(&own);
    let key = if open { "" } else { " \\\n  -H \"Authorization: Bearer $OUTLAY_KEY\"" };
    let status = app.reads.status();
    let content = html! {
        h1 { "Outlay" }
        p { "The budget ledger of an application's AI features, version " (env!("CARGO_PKG_VERSION")) "." }
        @if open {
            p.open { "This server is open: no key is needed, and it answers to this machine alone." }
        } @else {
            p { "This server is locked: make a key with " code { "outlay keys create --role app" } " and send it along." }
        }
        p {
            @match &status.not_ready {
                None => { "It is ready: " (status.promise) "." }
                Some(_) => strong { "It takes no writes at the moment; its log says why." }
            }
        }
        h2 { "First steps" }
        p { "Put a user on a plan, record what a call cost, and see the budget move:" }
        pre { code {
            "curl -X PUT " (base) "/v1/users/alice" (key) " \\\n"
            "  -H 'Content-Type: application/json' -d '{\"plan\": \"premium\"}'\n\n"
            "curl " (base) "/v1/usage" (key) " \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            "  -d '{\"operationId\": \"scan-1\", \"userId\": \"alice\", \"feature\": \"business_card_scan\",\n"
            "       \"cost\": 0.00010785, \"isBillableRun\": true}'\n\n"
            "curl " (base) "/v1/users/alice/budget" (key) "\n"
        } }
        p { "Before a call, ask whether it fits, and hold what it may cost until it is done:" }
        pre { code {
            "curl " (base) "/v1/users/alice/sessions" (key) " \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            "  -d '{\"feature\": \"business_card_scan\", \"estimate\": {\"cost\": 0.01, \"aiRuns\": 1}}'\n"
        } }
        h2 { "More" }
        ul {
            li { a href="docs" { "The API" } ", also as " a href="openapi.json" { "openapi.json" } }
            li { a href="problems" { "Problems" } ": each kind of error, and what to do" }
            li { a href="healthz" { "healthz" } ", " a href="readyz" { "readyz" } ", and metrics at " code { "/metrics" } }
        }
    };
    answer(page("", "What runs here", &content).into_string())
}
