//! Who calls: keys, user tokens, the owner of the machine, or anybody on an open server.
//!
//! What a caller may do is in the table of [`super::routes`]; this module only tells who it is.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::App;
use super::failures::Failures;
use super::keys;
use super::problem::{Kind, Problem};
use super::proxies::Proxies;
use super::sign_in::SignIns;
use super::tokens::{Tokens, Whose};
use crate::ids::RequestId;
use crate::store::Reads;
use crate::store::records::Role;

/// What the audit log and the table of routes call the owner of the machine.
pub(super) const OWNER: &str = "socket";

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Anybody, on a server that was started with `--open`.
    Open,
    /// Somebody with a key, or the owner of the machine.
    Key {
        /// The key's id; `environment` for `OUTLAY_ADMIN_KEY`, `socket` for the owner of the machine.
        id: Arc<str>,
        /// What it may do.
        role: Role,
    },
    /// An end user in their browser.
    User {
        /// Who.
        user_id: UserId,
        /// Which of those who had this id, one after the other.
        whose: Whose,
        /// When the token was made.
        made_at: Timestamp,
        /// Whether the token reads sessions.
        reads_sessions: bool,
        /// Whether the token reads operations, and history by feature.
        reads_usage: bool,
        /// When the token ends.
        expires_at: Timestamp,
    },
    /// Nobody known.
    Nobody,
}

impl Caller {
    /// Whether metadata, providers and models are shown: to all but an end user.
    pub fn sees_everything(&self) -> bool {
        matches!(self, Self::Open | Self::Key { .. })
    }
}

/// What the guard found out about a request; taken by handlers as [`Caller`] or [`RequestId`], and by what reads a body.
///
/// It is one thing, since each that is put beside a request is kept in memory of its own.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) request_id: RequestId,
    /// Where it comes from; `None` by the socket in the data folder.
    pub(super) client: Option<IpAddr>,
    /// The whole body.
    pub(super) body: Bytes,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        asked(parts).map(|asked| asked.caller.clone())
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        asked(parts).map(|asked| asked.request_id)
    }
}

pub(super) fn asked(parts: &Parts) -> Result<&Asked, Problem> {
    parts.extensions.get().ok_or_else(|| Problem::new(Kind::Internal).because("a handler without the guard before it"))
}

/// How callers are told apart.
#[derive(Debug)]
pub struct Access {
    open: bool,
    admin_key_digest: Option<[u8; 32]>,
    tokens: Option<Tokens>,
    allowed_origins: Vec<HeaderValue>,
    failures: Failures,
    proxies: Proxies,
    sign_ins: SignIns,
}

/// Why a setting of who may call cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not 32 to 256 visible ASCII characters.
    #[error("use OUTLAY_ADMIN_KEY: it must be 32 to 256 visible ASCII characters, without spaces")]
    AdminKey,
    /// Not an origin like `https://app.example.org`.
    #[error("use allowed_origins: each must be an origin like https://app.example.org")]
    Origin,
}

impl Access {
    /// Nobody but those with a key that the store knows.
    pub fn keyed() -> Self {
        Self {
            open: false,
            admin_key_digest: None,
            tokens: None,
            allowed_origins: Vec::new(),
            failures: Failures::default(),
            proxies: Proxies::default(),
            sign_ins: SignIns::default(),
        }
    }

    /// Anybody may do anything; the server must listen on loopback alone.
    pub fn open() -> Self {
        Self { open: true, ..Self::keyed() }
    }

    /// Also takes `OUTLAY_ADMIN_KEY` for an admin key.
    ///
    /// # Errors
    /// When it is not 32 to 256 visible ASCII characters.
    pub fn with_admin_key(mut self, key: &SecretString) -> Result<Self, AccessError> {
        let key = key.expose_secret();
        if !(32..=256).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AccessError::AdminKey);
        }
        self.admin_key_digest = Some(Sha256::digest(key).into());
        Ok(self)
    }

    /// Also takes user tokens, and makes them.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Lets only these origins read with a token from a page, instead of all.
    ///
    /// # Errors
    /// When one is no origin.
    pub fn with_allowed_origins(mut self, origins: &[String]) -> Result<Self, AccessError> {
        for origin in origins {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
                return Err(AccessError::Origin);
            }
            self.allowed_origins.push(HeaderValue::from_str(origin).map_err(|_| AccessError::Origin)?);
        }
        Ok(self)
    }

    /// Believes these proxies about who sent a request.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// The proxies that are believed.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Whether no key is needed.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// What makes user tokens; `None` where there is no master key.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// The origins that may read with a token from a page; empty = all.
    pub(super) fn allowed_origins(&self) -> &[HeaderValue] {
        &self.allowed_origins
    }

    /// Who is signed in to the pages.
    pub(super) fn sign_ins(&self) -> &SignIns {
        &self.sign_ins
    }

    /// The digest of a key that is known and holds, for a sign-in.
    ///
    /// # Errors
    /// `Unauthorized` when it is not known, `TooManyRequests` when that came too often from there.
    pub(super) fn digest_of_key(&self, shown: &str, address: Option<IpAddr>, app: &App) -> Result<[u8; 32], Problem> {
        let now = app.clock.wall();
        let address = address.filter(|address| self.proxies.limits(*address));
        self.not_too_often(address, now)?;
        if self.key(shown, &*app.reads, now).is_some() {
            return Ok(Sha256::digest(shown).into());
        }
        Err(self.refused(address, now, app))
    }

    /// The id of a key that was shown and holds no more; `None` where it is not known at all.
    pub(super) fn ended_key(headers: &HeaderMap, app: &App) -> Option<Arc<str>> {
        let shown = headers.get(AUTHORIZATION).and_then(|header| bearer(header.as_bytes()))?;
        Self::ended(shown, app)
    }

    /// The same of a key as it was typed.
    pub(super) fn ended(shown: &str, app: &App) -> Option<Arc<str>> {
        let digest: [u8; 32] = Sha256::digest(shown).into();
        app.reads.key(&digest).map(|record| Arc::from(record.id.as_str()))
    }

    fn not_too_often(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Problem> {
        match address.and_then(|address| self.failures.turned_away(address, now)) {
            Some(seconds) => Err(Problem::new(Kind::TooManyRequests)
                .detail("Too many keys that are not known came from this address.")
                .retry_after(seconds)),
            None => Ok(()),
        }
    }

    fn refused(&self, address: Option<IpAddr>, now: Timestamp, app: &App) -> Problem {
        app.metrics.refused_credential();
        if let Some(address) = address {
            self.failures.failed(address, now);
        }
        Problem::new(Kind::Unauthorized).detail("The key or token is not known here, or is not valid any more.")
    }

    /// Tells who sent a request, at a door that takes keys and tokens, or tokens alone. Showing nothing is
    /// [`Caller::Nobody`].
    ///
    /// # Errors
    /// `Unauthorized` when something was shown that is not known, `TooManyRequests` when that came too often from there.
    pub(super) fn identify(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        app: &App,
        keys_too: bool,
    ) -> Result<Caller, Problem> {
        let now = app.clock.wall();
        let address = address.filter(|address| self.proxies.limits(*address));
        let Some(header) = headers.get(AUTHORIZATION) else {
            // A sign-in that ended is nobody, and no try to break in.
            let digest = if keys_too { self.sign_ins.key_digest(headers, now) } else { None };
            return Ok(digest.and_then(|digest| self.of_digest(digest, &*app.reads, now)).unwrap_or(Caller::Nobody));
        };
        self.not_too_often(address, now)?;
        if let Some(caller) = bearer(header.as_bytes()).and_then(|shown| self.caller(shown, &*app.reads, now, keys_too))
        {
            return Ok(caller);
        }
        Err(self.refused(address, now, app))
    }

    fn caller(&self, shown: &str, reads: &dyn Reads, now: Timestamp, keys_too: bool) -> Option<Caller> {
        let tokens = self.tokens.as_ref().filter(|_| Tokens::are_like(shown));
        let user = tokens.and_then(|tokens| {
            tokens.look(reads);
            tokens.read(shown, now)
        });
        user.or_else(|| if keys_too { self.key(shown, reads, now) } else { None })
    }

    fn key(&self, shown: &str, reads: &dyn Reads, now: Timestamp) -> Option<Caller> {
        let well_formed = keys::checksum_holds(shown);
        if well_formed == Some(false) {
            return None;
        }
        // From here on there is only the digest.
        self.of_digest(Sha256::digest(shown).into(), reads, now)
    }

    fn of_digest(&self, digest: [u8; 32], reads: &dyn Reads, now: Timestamp) -> Option<Caller> {
        if self.admin_key_digest.is_some_and(|admin| admin.ct_eq(&digest).into()) {
            return Some(Caller::Key { id: Arc::from("environment"), role: Role::Admin });
        }
        let record = reads.key(&digest)?;
        let same: bool = record.digest.ct_eq(&digest).into();
        let ended = record.revoked_at.is_some() || record.expires_at.is_some_and(|end| end <= now);
        (same && !ended).then(|| Caller::Key { id: Arc::from(record.id.as_str()), role: record.role })
    }
}

/// What follows `Bearer `, if it can be a key or a token at all.
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, shown) = text.split_once(' ')?;
    let shown = shown.trim_start_matches(' ');
    let sound = scheme.eq_ignore_ascii_case("bearer") && shown.len() <= 4_096;
    (sound && !shown.is_empty() && shown.bytes().all(|byte| byte.is_ascii_graphic())).then_some(shown)
}
