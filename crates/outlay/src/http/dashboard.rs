//! The pages of the dashboard over HTTP: what a query asks for, who may see it, and the forms. What a page looks like is in
//! [`crate::web`].
//!
//! Each page answers whole; with `Outlay-Fragment: 1` only its content, with an `ETag`, for the script that keeps it live;
//! and beside most of them is the same as CSV.

mod audit;
mod change;
mod csv;
mod lists;
mod operate;
mod telling;
mod views;

pub(super) use self::audit::{audit, audit_csv};
pub(super) use self::change::{end_tokens, erase, erase_form, set, set_form, token, token_form};
pub(super) use self::csv::{overview_csv, usage_csv, users_csv};
pub(super) use self::lists::{alerts, alerts_csv, denials, denials_csv, session, sessions, sessions_csv, steps_csv};
pub(super) use self::operate::{make_key, plans, revoke_key, set_plan, settings};
pub(super) use self::telling::{
    deliveries_csv, make_webhook, redeliver, redeliver_alert, remove_webhook, rotate_webhook, test_mail, test_webhook,
    webhook,
};
pub(super) use self::views::{operation, overview, search, user, users};

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::Markup;
use xxhash_rust::xxh3::xxh3_128;

use super::auth::{Asked, Caller, asked};
use super::page::Parameters;
use super::problem::{Kind, Problem};
use super::{App, sign_in};
use crate::store::records::Role;
use crate::web::frame::{self, Around, Theme};
use crate::web::links::Links;
use crate::web::{Page, Viewer, assets};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types outlay";

/// What a page needs to know of who asks for it.
#[derive(Debug)]
pub(super) struct Browser {
    /// Links as seen from the page.
    pub(super) links: Links,
    /// The page's address, without its first slash.
    pub(super) address: String,
    /// Who looks.
    pub(super) viewer: Viewer,
    /// Which colours.
    pub(super) theme: Theme,
    /// Whether single keys do something.
    pub(super) shortcuts: bool,
    /// Where the connection comes from.
    pub(super) address_of_peer: Option<IpAddr>,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Browser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Asked { caller, client, .. } = asked(parts)?;
        Ok(Self::new(&parts.uri, parts.headers.clone(), caller, *client))
    }
}

impl Browser {
    fn new(uri: &http::Uri, headers: HeaderMap, caller: &Caller, address_of_peer: Option<IpAddr>) -> Self {
        let role = match caller {
            Caller::Open => Role::Admin,
            Caller::Key { role, .. } => *role,
            Caller::User { .. } | Caller::Nobody => Role::Viewer,
        };
        let signed_in = matches!(caller, Caller::Key { .. }) && sign_in::shows_cookie(&headers);
        let address = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).trim_start_matches('/');
        Self {
            links: Links::from_path(uri.path()),
            address: address.to_owned(),
            viewer: Viewer { role, signed_in },
            theme: sign_in::theme_of(&headers),
            shortcuts: sign_in::shortcuts_of(&headers),
            address_of_peer,
            headers,
        }
    }

    /// The server's address as the browser knows it, for commands to copy: text, of which no link is made.
    pub(super) fn base(&self, app: &App) -> String {
        let host = self.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:4780");
        app.presentation.now().public_url.clone().unwrap_or_else(|| format!("http://{host}"))
    }

    /// Whether the browser asked this machine by its own name.
    pub(super) fn is_at_home(&self) -> bool {
        sign_in::at_home(&self.headers)
    }

    /// Whether what the browser sends can be read by nobody on its way, as far as this server can tell.
    pub(super) fn is_private_way(&self, app: &App) -> bool {
        let said = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        self.is_at_home()
            || said("x-forwarded-proto") == Some("https")
            || said("origin").is_some_and(|origin| origin.starts_with("https://"))
            || app.presentation.now().public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// A page as an answer: whole, or its content alone.
    pub(super) fn answer(&self, page: &Page) -> Response {
        if self.headers.contains_key(FRAGMENT) {
            return self.fragment(page);
        }
        self.answer_with(StatusCode::OK, page)
    }

    /// A whole page, such as one that answers a form that cannot be carried out, or only in part.
    pub(super) fn answer_with(&self, status: StatusCode, page: &Page) -> Response {
        let around = Around {
            links: &self.links,
            address: &self.address,
            viewer: self.viewer,
            theme: self.theme,
            shortcuts: self.shortcuts,
        };
        html(status, &frame::framed(page, &around))
    }

    /// Leads to a page of ours after a form was carried out; `path` is without its first slash.
    pub(super) fn lead_to(&self, path: &str) -> Response {
        sign_in::lead_to(&format!("{}{path}", self.links.root()))
    }

    /// The content of a page; nothing where it is as the browser has it.
    fn fragment(&self, page: &Page) -> Response {
        let body = page.main.0.as_bytes();
        let tag = format!("\"{:032x}\"", xxh3_128(body));
        let same = self.headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
        let mut response =
            if same { StatusCode::NOT_MODIFIED.into_response() } else { html(StatusCode::OK, &page.main) };
        let as_of = page.as_of.map(|as_of| as_of.to_string()).unwrap_or_default();
        for (name, value) in [(ETAG, tag), (AS_OF, as_of)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Asks for the content of a page alone.
const FRAGMENT: HeaderName = HeaderName::from_static("outlay-fragment");
/// The instant of a fragment's figures.
const AS_OF: HeaderName = HeaderName::from_static("outlay-as-of");

/// HTML as an answer, with what it may do: run our script, and ask this server.
pub(super) fn html(status: StatusCode, markup: &Markup) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (VARY, HeaderValue::from_static("Cookie, Outlay-Fragment")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
        ),
    ];
    (status, headers, Body::from(markup.0.clone())).into_response()
}

/// A problem as a page: where a key is missing, the form that takes one.
pub(super) fn problem(problem: &Problem, uri: &http::Uri, headers: &HeaderMap, request_id: &str) -> Response {
    let (links, theme) = (Links::from_path(uri.path()), sign_in::theme_of(headers));
    if problem.kind() == Kind::Unauthorized {
        let to = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).trim_start_matches('/');
        return html(problem.status(), &crate::web::sign_in::page(&links, theme, to, None));
    }
    let kind = problem.kind();
    let details = problem.sentences();
    html(
        problem.status(),
        &crate::web::sign_in::problem(&links, theme, kind.title(), &details, kind.slug(), request_id),
    )
}

/// `GET /my`: the end user's own page.
pub(super) async fn my(browser: Browser) -> Response {
    html(StatusCode::OK, &crate::web::my::page(&browser.links, browser.theme))
}

/// `GET /help`: what keys do, and what the words mean.
pub(super) async fn help(browser: Browser) -> Response {
    browser.answer(&crate::web::help::page(&browser.links, browser.shortcuts))
}

/// `GET /assets/{name}`: a file of the pages. Its address changes with its content.
pub(super) async fn asset(name: Option<Path<String>>, mut parameters: Parameters) -> Result<Response, Problem> {
    let version = parameters.take("v");
    parameters.finish()?;
    let Some((name, (file, content_type))) = name.and_then(|Path(name)| Some((name.clone(), assets::file(&name)?)))
    else {
        return Err(Problem::new(Kind::NotFound).detail("There is no such file."));
    };
    let kept = version.is_some_and(|version| version == assets::version(&name));
    let cache = if kept { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (CACHE_CONTROL, HeaderValue::from_static(cache))];
    Ok((headers, Body::from(file.data.into_owned())).into_response())
}
