//! User tokens: PASETO v4.public, made for a browser, for one user, for a while; and the route that makes them.
//!
//! A token is of one person and not of an id: whoever has the id after an erasure is somebody else. See [`Whose`].
//!
//! There is one algorithm and no field that names one. A token names its key among our own, the store that it is for and
//! its purpose; who holds it may read what the table of [`super::routes`] says, of that one user.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outlay_core::id::{UserId, UserNo};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::month::Timestamp;
use parking_lot::RwLock;
use pasetors::Public;
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::auth::Caller;
use super::body::{JsonBody, whole};
use super::json::Json;
use super::problem::{Kind, Problem};
use super::reading::{OfUser, unexpected, view};
use super::{App, SharedApp, schemas};
use crate::audit::{Action, Actor};
use crate::feed::Tidings;
use crate::ids::Ids;
use crate::seal::{MasterKey, SealError};
use crate::store::records::SecretRecord;
use crate::store::{Reads, Record};
use crate::writer::{WriteError, Writer};

/// What a token is for; also signed beside it, so that a token of another purpose could not be shown here.
const PURPOSE: &str = "outlay-user";
/// How far a clock may have been set back since a token was made.
const LEEWAY_SECONDS: i64 = 60;
/// Signing keys that are live: the one that signs, and the one before it, whose tokens come to their end by themselves.
const LIVE_KEYS: usize = 2;
/// What the names of signing keys begin with; a number follows, from 1.
const KEY_PREFIX: &str = "token-key/";

/// Seals every secret of a store anew, after the master key began to change. Gives how many.
///
/// # Errors
/// When one cannot be opened or stored; those before it are sealed anew, and it may be tried again.
pub async fn reseal(master: &MasterKey, writer: &Writer, reads: &dyn Reads, ids: &Ids) -> Result<usize, TokensError> {
    let mut count = 0;
    for record in reads.secrets() {
        let secret = master.open(&record.name, &record.sealed)?;
        let sealed = master.seal(&record.name, &secret, ids)?;
        writer.put(Record::Secret(SecretRecord { sealed, ..SecretRecord::clone(&record) })).await?;
        count += 1;
    }
    Ok(count)
}

/// For how many seconds a token may be good.
pub(super) const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;
/// For how long a token is good when nothing is said.
const TTL_SECONDS_DEFAULT: i64 = 3_600;

/// Makes a token for a user; gives it and when it ends.
///
/// # Errors
/// When there is no master key, or the store cannot be read.
pub(super) async fn make(
    app: &App,
    user_id: &UserId,
    readable: &[Readable],
    ttl_seconds: i64,
) -> Result<(String, Timestamp), Problem> {
    let Some(tokens) = app.access.tokens() else {
        return Err(Problem::new(Kind::StoreUnavailable)
            .detail("User tokens need the master key: set OUTLAY_MASTER_KEY and start the server again."));
    };
    // Taken before the user is looked for: whoever is first seen later has this number, or a later one.
    let next_user = app.reads.next_user(user_id).await?;
    let view = view(app, user_id, app.reads.now().month()).await?;
    let whose = view.user.as_ref().map_or(Whose::From(next_user), |user| Whose::Tagged(user.tag));
    // One that is made after the older ones were ended is good, whatever the clock did meanwhile.
    let ended = view.user.as_ref().and_then(|user| app.reads.tokens_ended(user.no));
    let made_at = ended.map_or(app.clock.wall(), |ended| app.clock.wall().max(after(ended)));
    tokens.look(&*app.reads);
    tokens
        .mint(user_id, whose, readable, ttl_seconds, app.clock.wall(), made_at)
        .map_err(|error| Problem::new(Kind::Internal).because(error))
}

/// The next instant.
fn after(instant: Timestamp) -> Timestamp {
    Timestamp::from_nanos(instant.nanos() + 1).unwrap_or(instant)
}

/// Make a token for a user
///
/// For the user's own browser: it reads their budget, history, forecast and events, and nothing of anybody else. Let it be
/// short and make new ones; `DELETE` on the same path ends all of them at once.
#[utoipa::path(post, path = "/v1/users/{userId}/tokens", tag = "Users",
    operation_id = "createUserToken",
    params(schemas::UserPath),
    request_body(content = Option<super::openapi::NewToken>),
    responses((status = 201, description = "The token", body = super::openapi::Token),
        schemas::WriteProblems))]
pub(super) async fn create(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object_or_empty()?;
    let ttl_seconds = fields.optional("ttlSeconds", whole(TTL_SECONDS)).unwrap_or(TTL_SECONDS_DEFAULT);
    let readable =
        fields.optional("reads", |raw| serde_json::from_str::<Vec<Readable>>(raw).map_err(|_| Readable::MUST));
    fields.finish(Some(()))?;
    let (token, expires_at) = make(&app, &user_id, &readable.unwrap_or_default(), ttl_seconds).await?;
    let json = Json::of_object(|object| {
        object.put("token", token.as_str()).put("expiresAt", expires_at);
    });
    Ok(json.answer(StatusCode::CREATED))
}

/// End a user's tokens
///
/// Every token of this user that was made until now is good no more, and their open event streams end. Tokens made later
/// are not touched.
#[utoipa::path(delete, path = "/v1/users/{userId}/tokens", tag = "Users",
    operation_id = "endUserTokens",
    params(schemas::UserPath),
    responses((status = 204, description = "None of them opens anything any more"),
        schemas::WriteProblems))]
pub(super) async fn end(
    State(app): State<SharedApp>,
    actor: Actor,
    OfUser(user_id): OfUser,
) -> Result<Response, Problem> {
    end_all(&app, &actor, &user_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends all tokens of a user.
pub(super) async fn end_all(app: &App, actor: &Actor, user_id: &UserId) -> Result<(), Problem> {
    let known = view(app, user_id, app.reads.now().month()).await?.user.as_ref().map(|user| user.no);
    let user_no = if let Some(user_no) = known {
        user_no
    } else {
        // A token may be there before its user: they are written down, so that there is somebody whose tokens are ended.
        let overrides = outlay_core::plan::Overrides::default();
        let command = Command::PutUser { user_id: user_id.clone(), plan: None, email: None, overrides };
        match app.writer.submit_as(actor, command).await? {
            Outcome::User { user, .. } => user.no,
            other => return Err(unexpected(&other)),
        }
    };
    // Also where the wall clock was set back: the store's clock is never behind, and the next instant after the last such
    // end is what tokens made since then say at least.
    let until = app.clock.wall().max(app.reads.now());
    let until = app.reads.tokens_ended(user_no).map_or(until, |ended| until.max(after(ended)));
    let event = actor.did(Action::TokensEnded).of_user(user_no);
    app.writer.put_as(event, Record::EndTokens { user_no, until }).await?;
    // Those who follow are woken, and find that they may not.
    let feed = app.reads.feed();
    feed.tell(Tidings { changed: feed.watched(user_id).into_iter().collect(), ..Tidings::default() });
    Ok(())
}

/// Sign tokens with a new key
///
/// Only over the socket in the data folder, as `outlay tokens rotate-key` asks it. Tokens that the key before signed stay
/// good until they end by themselves; those of the key before that are ended.
#[utoipa::path(post, path = "/v1/token-keys", tag = "Operator",
    operation_id = "rotateTokenKey",
    responses((status = 201, description = "Tokens are signed with the new key from now on"),
        schemas::WriteProblems))]
pub(super) async fn rotate(State(app): State<SharedApp>, actor: Actor) -> Result<Response, Problem> {
    let Some(tokens) = app.access.tokens() else {
        return Err(Problem::new(Kind::StoreUnavailable)
            .detail("User tokens need the master key: set OUTLAY_MASTER_KEY and start the server again."));
    };
    let rotated = tokens.rotate(&actor, &app.writer, &*app.reads, app.clock.wall()).await;
    let name = rotated.map_err(|error| match error {
        TokensError::Write(error) => Problem::from(error),
        error => Problem::new(Kind::Internal).because(error),
    })?;
    tracing::info!(key.name = name, "user tokens are signed with a new key");
    let json = Json::of_object(|object| {
        object.put("name", name.as_str());
    });
    Ok(json.answer(StatusCode::CREATED))
}

/// Why user tokens cannot be had.
#[derive(Debug, Error)]
pub enum TokensError {
    /// The signing key cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The signing key cannot be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was opened is no signing key.
    #[error("use the token key `{0}`: it is none")]
    Key(String),
    /// The library refused to make or sign.
    #[error("sign a user token")]
    Sign,
}

/// What makes and reads user tokens.
pub struct Tokens {
    /// Those that are live, the oldest first; the newest signs.
    /// Those that were live when they were last opened; another node may have made one since.
    keys: RwLock<Arc<[SigningKey]>>,
    master: MasterKey,
    /// One rotation at a time.
    rotating: tokio::sync::Mutex<()>,
    /// Which store they are for.
    audience: String,
    ids: Ids,
}

struct SigningKey {
    /// Stands in the footer as it is.
    name: String,
    secret: AsymmetricSecretKey<V4>,
    public: AsymmetricPublicKey<V4>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(***)")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    whose: Claimed,
    aud: String,
    purpose: String,
    iat: String,
    nbf: String,
    exp: String,
    jti: String,
    reads: Vec<Readable>,
}

/// Which person a token is of, among all who have its user id one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one with this tag, who was known when the token was made.
    Tagged(u64),
    /// The first one to be seen under the id after the token was made: their number is this one or a later one.
    From(UserNo),
}

/// The same as a claim. A number is masked: it says how many users there are, and the token lies in a browser.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Claimed {
    Tagged(u64),
    From(u64),
}

impl Whose {
    /// Lets a token's bearer through, unless their user is not the one that the token is of, or their tokens made until
    /// then were ended. Gives what is to be asked the next time: by then the tag may be known.
    ///
    /// # Errors
    /// `Unauthorized` when that one was erased, or may have been, or the token ended; a store's error when it cannot be read.
    pub(super) async fn still(self, made_at: Timestamp, app: &App, user_id: &UserId) -> Result<Self, Problem> {
        let view = view(app, user_id, app.reads.now().month()).await?;
        let user = view.user.as_deref();
        let is_still = match self {
            Self::Tagged(tag) => user.is_some_and(|user| user.tag == tag),
            Self::From(first) => {
                // Who was known to have the id in between cannot be told, since an erasure leaves no id. Any erasure of
                // somebody first seen in between counts: a page then has to ask for another token, which is rare.
                let until = match user {
                    Some(user) => user.no,
                    None => app.reads.next_user(user_id).await?,
                };
                first <= until && !app.reads.any_erased(user_id, first..until).await?
            }
        };
        let ended = user.and_then(|user| app.reads.tokens_ended(user.no)).is_some_and(|until| made_at <= until);
        if !is_still || ended {
            return Err(Problem::new(Kind::Unauthorized).detail(TOKEN_ENDED));
        }
        Ok(user.map_or(self, |user| Self::Tagged(user.tag)))
    }
}

const TOKEN_ENDED: &str = "The token is not valid any more: make a new one.";

/// What a token may read beside budget, history, forecast and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readable {
    /// Sessions, without metadata, providers and models.
    Sessions,
    /// Operations likewise, and history by feature.
    Usage,
}

impl Readable {
    /// All, in the order of the contract.
    pub const ALL: [Self; 2] = [Self::Sessions, Self::Usage];

    const MUST: &str = "must be a list of `sessions` and `usage`";

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Usage => "usage",
        }
    }
}

impl Tokens {
    /// Opens the signing keys of a store, and makes the first one where there is none.
    ///
    /// # Errors
    /// When the master key is not the one that they were sealed under, or the first one cannot be stored.
    pub async fn prepare(
        master: MasterKey,
        writer: &Writer,
        reads: &dyn Reads,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<Self, TokensError> {
        let mut keys = live_keys(&master, reads)?;
        if keys.is_empty() {
            let key = SigningKey::make(name_of(1))?;
            writer.put(Record::FirstSecret(key.sealed(&master, ids, now)?)).await?;
            // Another node may have been first, and then its key counts.
            keys = live_keys(&master, reads)?;
        }
        Ok(Self {
            keys: RwLock::new(keys.into()),
            master,
            rotating: tokio::sync::Mutex::default(),
            audience: format!("{:032x}", reads.deployment_id()),
            ids: ids.clone(),
        })
    }

    /// Signs with a new key from now on, and drops those that are not live any more. Gives its name.
    ///
    /// # Errors
    /// When it cannot be made or stored; then the keys are as they were.
    pub async fn rotate(
        &self,
        actor: &Actor,
        writer: &Writer,
        reads: &dyn Reads,
        now: Timestamp,
    ) -> Result<String, TokensError> {
        let _one = self.rotating.lock().await;
        let newest = reads.secrets().iter().filter_map(|record| number_of(&record.name)).max().unwrap_or(0);
        let key = SigningKey::make(name_of(newest.saturating_add(1)))?;
        let name = key.name.clone();
        let record = Record::Secret(key.sealed(&self.master, &self.ids, now)?);
        writer.put_as(actor.did(Action::TokenKeyRotated).on(&name), record).await?;
        let live = live_keys(&self.master, reads)?;
        let is_live = |name: &str| live.iter().any(|key| key.name == name);
        let old =
            reads.secrets().into_iter().filter(|record| number_of(&record.name).is_some() && !is_live(&record.name));
        let old: Vec<String> = old.map(|record| record.name.clone()).collect();
        *self.keys.write() = live.into();
        for name in old {
            // What a crash leaves here is not live all the same, and goes with the next rotation.
            writer.put(Record::RemoveSecret(name)).await?;
        }
        Ok(name)
    }

    /// Whether this may be a token, and no key.
    pub(super) fn are_like(shown: &str) -> bool {
        shown.starts_with(PublicToken::HEADER)
    }

    /// Opens the keys again where another node has made one, or taken one away.
    pub(super) fn look(&self, reads: &dyn Reads) {
        let secrets = reads.secrets();
        let kept = Arc::clone(&self.keys.read());
        if live_names(&secrets).into_iter().eq(kept.iter().map(|key| key.name.as_str())) {
            return;
        }
        match live_keys(&self.master, reads) {
            Ok(live) => *self.keys.write() = live.into(),
            Err(error) => tracing::error!("the keys of user tokens stay as they were: failed to {error}"),
        }
    }

    /// Makes a token for a user; gives it and when it ends. `made_at` is what it says of when it was made.
    ///
    /// # Errors
    /// When the library refuses to sign, which it does not.
    pub fn mint(
        &self,
        user_id: &UserId,
        whose: Whose,
        readable: &[Readable],
        ttl_seconds: i64,
        now: Timestamp,
        made_at: Timestamp,
    ) -> Result<(String, Timestamp), TokensError> {
        let keys = Arc::clone(&self.keys.read());
        let key = keys.last().ok_or(TokensError::Sign)?;
        // Whole seconds, so that the token ends when its claim says so.
        let now = Timestamp::from_seconds(now.seconds()).unwrap_or(now);
        let expires_at = now.plus_seconds(ttl_seconds);
        let token_id = self.ids.request().to_string();
        let claims = Claims {
            sub: user_id.as_str().to_owned(),
            whose: match whose {
                Whose::Tagged(tag) => Claimed::Tagged(tag),
                Whose::From(no) => Claimed::From(no.0 ^ key.mask(&token_id)),
            },
            aud: self.audience.clone(),
            purpose: PURPOSE.to_owned(),
            iat: made_at.to_string(),
            nbf: now.to_string(),
            exp: expires_at.to_string(),
            jti: token_id,
            reads: readable.to_vec(),
        };
        let message = serde_json::to_vec(&claims).map_err(|_| TokensError::Sign)?;
        let footer = Some(key.name.as_bytes());
        let token = PublicToken::sign(&key.secret, &message, footer, Some(PURPOSE.as_bytes()))
            .map_err(|_| TokensError::Sign)?;
        Ok((token, expires_at))
    }

    /// Whose token it is, and what it reads; `None` when it is not one of ours, or not of this time.
    pub(super) fn read(&self, shown: &str, now: Timestamp) -> Option<Caller> {
        if !Self::are_like(shown) {
            return None;
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(shown).ok()?;
        let footer = untrusted.untrusted_footer();
        let keys = Arc::clone(&self.keys.read());
        let key = keys.iter().find(|key| key.name.as_bytes() == footer)?;
        let trusted = PublicToken::verify(&key.public, &untrusted, Some(footer), Some(PURPOSE.as_bytes())).ok()?;
        let claims: Claims = serde_json::from_str(trusted.payload()).ok()?;
        let instant = |text: &str| Timestamp::parse(text).ok();
        let expires_at = instant(&claims.exp)?;
        let sound = claims.aud == self.audience
            && claims.purpose == PURPOSE
            && instant(&claims.nbf)? <= now.plus_seconds(LEEWAY_SECONDS)
            && now < expires_at;
        let user_id = UserId::new(&claims.sub).ok()?;
        let whose = match claims.whose {
            Claimed::Tagged(tag) => Whose::Tagged(tag),
            Claimed::From(masked) => Whose::From(UserNo(masked ^ key.mask(&claims.jti))),
        };
        let made_at = instant(&claims.iat)?;
        sound.then(|| Caller::User {
            user_id,
            whose,
            made_at,
            reads_sessions: claims.reads.contains(&Readable::Sessions),
            reads_usage: claims.reads.contains(&Readable::Usage),
            expires_at,
        })
    }
}

impl SigningKey {
    fn make(name: String) -> Result<Self, TokensError> {
        let pair = AsymmetricKeyPair::<V4>::generate().map_err(|_| TokensError::Sign)?;
        Ok(Self { name, secret: pair.secret, public: pair.public })
    }

    fn sealed(&self, master: &MasterKey, ids: &Ids, now: Timestamp) -> Result<SecretRecord, TokensError> {
        let sealed = master.seal(&self.name, self.secret.as_bytes(), ids)?;
        Ok(SecretRecord { name: self.name.clone(), sealed, created_at: now })
    }

    /// Bits that only who has the key can tell, others for each token.
    fn mask(&self, token_id: &str) -> u64 {
        let mut hash = Sha256::new_with_prefix("outlay-token-mask");
        hash.update(self.secret.as_bytes());
        hash.update(token_id.as_bytes());
        let mut mask = [0; 8];
        mask.copy_from_slice(hash.finalize().split_at(8).0);
        u64::from_le_bytes(mask)
    }

    fn open(master: &MasterKey, record: &SecretRecord) -> Result<Self, TokensError> {
        let bytes = master.open(&record.name, &record.sealed)?;
        let none = |_| TokensError::Key(record.name.clone());
        let secret = AsymmetricSecretKey::<V4>::from(&bytes).map_err(none)?;
        let public = AsymmetricPublicKey::<V4>::try_from(&secret).map_err(none)?;
        Ok(Self { name: record.name.clone(), secret, public })
    }
}

fn name_of(number: u32) -> String {
    format!("{KEY_PREFIX}{number}")
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix(KEY_PREFIX)?.parse().ok()
}

/// The signing keys of a store that are live, the oldest first.
fn live_keys(master: &MasterKey, reads: &dyn Reads) -> Result<Vec<SigningKey>, TokensError> {
    let secrets = reads.secrets();
    let of = |name: &str| secrets.iter().find(|record| record.name == name);
    live_names(&secrets).into_iter().filter_map(of).map(|record| SigningKey::open(master, record)).collect()
}

/// Their names.
fn live_names(secrets: &[Arc<SecretRecord>]) -> Vec<&str> {
    let mut numbered: Vec<_> =
        secrets.iter().filter_map(|record| Some((number_of(&record.name)?, record.name.as_str()))).collect();
    numbered.sort_unstable();
    let from = numbered.len().saturating_sub(LIVE_KEYS);
    numbered.into_iter().skip(from).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
