//! Signing in to the pages: a key is taken once, by POST, and a cookie stands for it from then on.
//!
//! The cookie is a random number that only this process knows: it ends with the process, after 12 hours, when the key ends,
//! or by signing out. It has no path, so that it holds for the folder of the pages, also below a proxy's path.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hashbrown::HashMap;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use outlay_core::month::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::SharedApp;
use super::auth::Access;
use super::dashboard::{Browser, html};
use super::guard::is_loopback;
use super::page::Parameters;
use super::problem::{Kind, Problem};
use crate::audit::{Action, Actor};
use crate::ids::Ids;
use crate::web::frame::Theme;
use crate::web::sign_in;

/// How long a sign-in holds.
const HOURS: i64 = 12;
/// Sign-ins at a time; beyond, the one that ends first is forgotten.
const SIGN_INS_MAX: usize = 10_000;
/// The cookie of a sign-in.
const COOKIE_NAME: &str = "outlay_session";
/// The cookie that keeps the colours.
const THEME_COOKIE: &str = "outlay_theme";
const SHORTCUTS_COOKIE: &str = "outlay_shortcuts";

/// Who is signed in: digests of cookies, and of the keys that they stand for.
#[derive(Debug, Default)]
pub(super) struct SignIns(Mutex<HashMap<[u8; 32], SignIn, foldhash::fast::FixedState>>);

#[derive(Debug, Clone, Copy)]
struct SignIn {
    key_digest: [u8; 32],
    until: Timestamp,
}

impl SignIns {
    /// Begins one; gives the cookie's value.
    fn begin(&self, key_digest: [u8; 32], now: Timestamp, ids: &Ids) -> Result<String, getrandom::Error> {
        let mut secret = [0; 32];
        ids.secret(&mut secret)?;
        let value = URL_SAFE_NO_PAD.encode(secret);
        let mut all = self.0.lock();
        if all.len() >= SIGN_INS_MAX {
            all.retain(|_, sign_in| sign_in.until > now);
        }
        if all.len() >= SIGN_INS_MAX
            && let Some(first) = all.iter().min_by_key(|(_, sign_in)| sign_in.until).map(|(digest, _)| *digest)
        {
            all.remove(&first);
        }
        all.insert(digest_of(&value), SignIn { key_digest, until: now.plus_seconds(HOURS * 3_600) });
        Ok(value)
    }

    /// The digest of the key that the request's cookie stands for.
    pub(super) fn key_digest(&self, headers: &HeaderMap, now: Timestamp) -> Option<[u8; 32]> {
        let digest = digest_of(cookie(headers, COOKIE_NAME)?);
        let mut all = self.0.lock();
        let found = *all.get(&digest)?;
        if found.until <= now {
            all.remove(&digest);
            return None;
        }
        Some(found.key_digest)
    }

    fn end(&self, headers: &HeaderMap) {
        if let Some(value) = cookie(headers, COOKIE_NAME) {
            self.0.lock().remove(&digest_of(value));
        }
    }
}

fn digest_of(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// A cookie's value.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// Whether the request shows a cookie of a sign-in.
pub(super) fn shows_cookie(headers: &HeaderMap) -> bool {
    cookie(headers, COOKIE_NAME).is_some()
}

/// The colours that were chosen.
pub(super) fn theme_of(headers: &HeaderMap) -> Theme {
    cookie(headers, THEME_COOKIE).map(Theme::parse).unwrap_or_default()
}

/// Whether single keys do something; they do unless they were turned off.
pub(super) fn shortcuts_of(headers: &HeaderMap) -> bool {
    cookie(headers, SHORTCUTS_COOKIE) != Some("off")
}

/// `GET /sign-in`
pub(super) async fn form(browser: Browser, mut parameters: Parameters) -> Response {
    let to = parameters.take("to").unwrap_or_default();
    html(StatusCode::OK, &sign_in::page(&browser.links, browser.theme, &to, None))
}

/// `POST /sign-in`
pub(super) async fn enter(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut fields = form_fields(&body);
    let (key, to) = (fields.take("key"), fields.take("to").unwrap_or_default());
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Err(Problem::new(Kind::InvalidBody).detail("The form has a field `key`."));
    };
    let again = |status, error: &str| Ok(html(status, &sign_in::page(&browser.links, browser.theme, &to, Some(error))));
    if !browser.is_private_way(&app) {
        return again(
            StatusCode::FORBIDDEN,
            "This page came over plain http: a key would be seen on its way. Open it by https, or on the server itself.",
        );
    }
    let now = app.clock.wall();
    let digest: [u8; 32] = match app.access.digest_of_key(key.trim(), browser.address_of_peer, &app) {
        Ok(digest) => digest,
        Err(problem) if problem.kind() == Kind::TooManyRequests => {
            return again(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many keys that are not known came from this address. Try again later.",
            );
        }
        Err(_) => {
            let ended = Access::ended(key.trim(), &app);
            app.refusals.refused(Action::KeyRefused, actor, ended.as_deref().unwrap_or("POST /sign-in"));
            return again(StatusCode::UNAUTHORIZED, "This key is not known here, or is not valid any more.");
        }
    };
    let value = app
        .access
        .sign_ins()
        .begin(digest, now, &app.ids)
        .map_err(|error| Problem::new(Kind::Internal).because(error))?;
    let secure = if browser.is_at_home() { "" } else { "; Secure" };
    let cookie = format!("{COOKIE_NAME}={value}; Max-Age={}; HttpOnly; SameSite=Strict{secure}", HOURS * 3_600);
    Ok(back(&to, Some(&cookie)))
}

/// `POST /sign-out`
pub(super) async fn leave(State(app): State<SharedApp>, headers: HeaderMap, body: Bytes) -> Response {
    app.access.sign_ins().end(&headers);
    let to = form_fields(&body).take("to").unwrap_or_default();
    back(&to, Some(&format!("{COOKIE_NAME}=; Max-Age=0; HttpOnly; SameSite=Strict")))
}

/// `POST /theme`: keeps the colours that were chosen.
pub(super) async fn theme(body: Bytes) -> Response {
    let mut fields = form_fields(&body);
    let theme = fields.take("theme").map(|name| Theme::parse(&name)).unwrap_or_default();
    let cookie = match theme.as_str() {
        Some(name) => format!("{THEME_COOKIE}={name}; Max-Age=31536000; SameSite=Strict"),
        None => format!("{THEME_COOKIE}=; Max-Age=0; SameSite=Strict"),
    };
    back(&fields.take("to").unwrap_or_default(), Some(&cookie))
}

/// `POST /shortcuts`: turns single keys on or off.
pub(super) async fn shortcuts(body: Bytes) -> Response {
    let mut fields = form_fields(&body);
    let cookie = match fields.take("shortcuts").as_deref() {
        Some("off") => format!("{SHORTCUTS_COOKIE}=off; Max-Age=31536000; SameSite=Strict"),
        _ => format!("{SHORTCUTS_COOKIE}=; Max-Age=0; SameSite=Strict"),
    };
    back(&fields.take("to").unwrap_or_default(), Some(&cookie))
}

/// The fields of a form.
pub(super) fn form_fields(body: &Bytes) -> Parameters {
    Parameters::parse(std::str::from_utf8(body).unwrap_or_default())
}

/// Leads back to a page of ours: whatever `to` says, it stays on this server.
pub(super) fn back(to: &str, cookie: Option<&str>) -> Response {
    let to = to.trim_start_matches(['/', '\\']);
    let mut response = lead_to(to);
    if let Some(value) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

/// Leads to an address as seen from the form's own.
pub(super) fn lead_to(address: &str) -> Response {
    let location = HeaderValue::from_str(&format!("./{address}")).unwrap_or(HeaderValue::from_static("./"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// Whether the browser asked this machine by its own name.
pub(super) fn at_home(headers: &HeaderMap) -> bool {
    headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// The headers of who shows a cookie.
    fn showing(value: &str) -> HeaderMap {
        let cookie = HeaderValue::from_str(&format!("a=b; {COOKIE_NAME}={value}")).unwrap();
        HeaderMap::from_iter([(COOKIE, cookie)])
    }

    #[test]
    fn a_sign_in_lasts_half_a_day() {
        let (sign_ins, ids) = (SignIns::default(), Ids::from_seed(SystemClock::shared(), 1));
        let now = Timestamp::parse("2025-10-13T12:00:00Z").unwrap();
        let cookie = showing(&sign_ins.begin([1; 32], now, &ids).unwrap());
        assert_eq!(sign_ins.key_digest(&cookie, now.plus_seconds(12 * 3_600 - 1)), Some([1; 32]));
        assert_eq!(sign_ins.key_digest(&cookie, now.plus_seconds(12 * 3_600)), None);
        assert_eq!(sign_ins.key_digest(&cookie, now), None, "it is forgotten");
    }

    #[test]
    fn signing_out_ends_one_sign_in() {
        let (sign_ins, ids) = (SignIns::default(), Ids::from_seed(SystemClock::shared(), 1));
        let [one, other] = [1, 2].map(|key| showing(&sign_ins.begin([key; 32], Timestamp::EPOCH, &ids).unwrap()));
        sign_ins.end(&one);
        assert!(shows_cookie(&one) && !shows_cookie(&HeaderMap::new()));
        assert_eq!(sign_ins.key_digest(&one, Timestamp::EPOCH), None);
        assert_eq!(sign_ins.key_digest(&other, Timestamp::EPOCH), Some([2; 32]));
    }

    #[test]
    fn where_too_many_are_signed_in_whose_time_ends_first_is_forgotten() {
        let (sign_ins, ids) = (SignIns::default(), Ids::from_seed(SystemClock::shared(), 1));
        let at = |seconds: usize| Timestamp::EPOCH.plus_seconds(seconds.try_into().unwrap());
        let mut cookies = Vec::new();
        let begin = |seconds| showing(&sign_ins.begin([1; 32], at(seconds), &ids).unwrap());
        for seconds in 0..=SIGN_INS_MAX {
            cookies.push(begin(seconds));
        }
        let is_in = |cookie: &HeaderMap| sign_ins.key_digest(cookie, at(SIGN_INS_MAX)).is_some();
        assert_eq!(cookies.iter().map(is_in).collect::<Vec<_>>(), [&[false][..], &[true; SIGN_INS_MAX]].concat());
        // Those that are over go first, so nobody is forgotten who is still in.
        begin(12 * 3_600 + 1_000);
        assert_eq!(sign_ins.0.lock().len(), SIGN_INS_MAX + 1 - 1_000);
    }
}
