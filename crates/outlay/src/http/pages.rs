//! What the server's own HTML pages share: their frame, their style, and the headers that let them do nothing else.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use maud::{DOCTYPE, Markup, html};

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

const SCRIPTED_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                               form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// A whole page. Its links are relative, since the server may be reached below a path; `root` leads to its first page,
/// like `../`.
pub(super) fn page(root: &str, title: &str, content: &Markup) -> Markup {
    framed(root, title, content, None)
}

/// The same with a script.
pub(super) fn scripted(root: &str, title: &str, content: &Markup, script: &str) -> Markup {
    framed(root, title, content, Some(script))
}

fn framed(root: &str, title: &str, content: &Markup, script: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Outlay" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (root) "pages.css" };
                @if let Some(script) = script { script type="module" src={ (root) (script) } {} }
            }
            body { main { (content) } }
        }
    }
}

/// A page as an answer.
pub(super) fn answer(page: impl Into<Body>) -> Response {
    with_policy(page, HeaderValue::from_static(POLICY))
}

/// A page with a script as an answer: it may ask this server.
pub(super) fn answer_scripted(page: impl Into<Body>) -> Response {
    with_policy(page, HeaderValue::from_static(SCRIPTED_POLICY))
}

fn with_policy(page: impl Into<Body>, policy: HeaderValue) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
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
