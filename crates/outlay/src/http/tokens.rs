//! User tokens: PASETO v4.public, made for a browser, for one user, for a while; and the route that makes them.
//!
//! A token is of one person and not of an id: whoever has the id after an erasure is somebody else. See [`Whose`].
//!
//! There is one algorithm and no field that names one. A token names its key among our own, the store that it is for and
//! its purpose; who holds it may read what the table of [`super::routes`] says, of that one user.

use std::fmt;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::id::{UserId, UserNo};
use outlay_core::month::Timestamp;
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
use super::reading::{OfUser, view};
use super::{App, SharedApp, schemas};
use crate::ids::Ids;
use crate::seal::{MasterKey, SealError};
use crate::store::records::SecretRecord;
use crate::store::{Reads, Record};
use crate::writer::{WriteError, Writer};

/// What a token is for; also signed beside it, so that a token of another purpose could not be shown here.
const PURPOSE: &str = "outlay-user";
/// How far a clock may have been set back since a token was made.
const LEEWAY_SECONDS: i64 = 60;
/// Signing keys in use at once, at most.
const KEYS_MAX: u32 = 1_000;

/// Seals every secret of a store anew, after the master key began to change. Gives how many.
///
/// # Errors
/// When one cannot be opened or stored; those before it are sealed anew, and it may be tried again.
pub async fn reseal(master: &MasterKey, writer: &Writer, reads: &dyn Reads, ids: &Ids) -> Result<usize, TokensError> {
    let mut count = 0;
    for number in 1..=KEYS_MAX {
        let Some(record) = reads.secret(&name_of(number)) else { break };
        let secret = master.open(&record.name, &record.sealed)?;
        let sealed = master.seal(&record.name, &secret, ids)?;
        writer.put(Record::Secret(SecretRecord { sealed, ..SecretRecord::clone(&record) })).await?;
        count += 1;
    }
    Ok(count)
}

/// For how long a token is good when nothing is said.
const TTL_SECONDS_DEFAULT: i64 = 3_600;

/// Who a token made now for this id is bound to.
pub(super) async fn whose(app: &App, user_id: &UserId) -> Result<Whose, Problem> {
    // Taken before the user is looked for: whoever is first seen later has this number, or a later one.
    let next_user = app.reads.next_user();
    let view = view(app, user_id, app.reads.now().month()).await?;
    Ok(view.user.as_ref().map_or(Whose::From(next_user), |user| Whose::Tagged(user.tag)))
}

/// Make a token for a user
///
/// For the user's own browser: it reads their budget, history, forecast and events, and nothing of anybody else. It cannot
/// be taken back, so let it be short and make new ones.
#[utoipa::path(post, path = "/v1/users/{userId}/tokens", tag = "Users",
    operation_id = "createUserToken",
    params(("userId" = String, Path, description = "The user, percent-encoded once")),
    request_body(content = Option<super::openapi::NewToken>),
    responses((status = 201, description = "The token", body = super::openapi::Token),
        schemas::WriteProblems))]
pub(super) async fn create(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object_or_empty()?;
    let ttl_seconds = fields.optional("ttlSeconds", whole(60..=86_400)).unwrap_or(TTL_SECONDS_DEFAULT);
    let readable =
        fields.optional("reads", |raw| serde_json::from_str::<Vec<Readable>>(raw).map_err(|_| Readable::MUST));
    fields.finish(Some(()))?;
    let Some(tokens) = app.access.tokens() else {
        return Err(Problem::new(Kind::StoreUnavailable)
            .detail("User tokens need the master key: set OUTLAY_MASTER_KEY and start the server again."));
    };
    let whose = whose(&app, &user_id).await?;
    let (token, expires_at) = tokens
        .mint(&user_id, whose, &readable.unwrap_or_default(), ttl_seconds, app.clock.wall())
        .map_err(|error| Problem::new(Kind::Internal).because(error))?;
    let json = Json::of_object(|object| {
        object.put("token", token.as_str()).put("expiresAt", expires_at);
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
    /// The oldest first; the newest signs.
    keys: Vec<SigningKey>,
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
    /// Lets a token's bearer through, unless their user is not the one that the token is of. Gives what is to be asked the
    /// next time: by then the tag may be known.
    ///
    /// # Errors
    /// `Unauthorized` when that one was erased, or may have been; a store's error when it cannot be read.
    pub(super) async fn still(self, app: &App, user_id: &UserId) -> Result<Self, Problem> {
        let view = view(app, user_id, app.reads.now().month()).await?;
        let user = view.user.as_deref();
        let is_still = match self {
            Self::Tagged(tag) => user.is_some_and(|user| user.tag == tag),
            Self::From(first) => {
                // Who was known to have the id in between cannot be told, since an erasure leaves no id. Any erasure of
                // somebody first seen in between counts: a page then has to ask for another token, which is rare.
                let until = user.map_or_else(|| app.reads.next_user(), |user| user.no);
                first <= until && !app.reads.any_erased(first..until).await?
            }
        };
        if !is_still {
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
    const MUST: &str = "must be a list of `sessions` and `usage`";
}

impl Tokens {
    /// Opens the signing keys of a store, and makes the first one where there is none.
    ///
    /// # Errors
    /// When the master key is not the one that they were sealed under, or the first one cannot be stored.
    pub async fn prepare(
        master: &MasterKey,
        writer: &Writer,
        reads: &dyn Reads,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<Self, TokensError> {
        let mut keys = Vec::new();
        for number in 1..=KEYS_MAX {
            let Some(record) = reads.secret(&name_of(number)) else { break };
            keys.push(SigningKey::open(master, &record)?);
        }
        if keys.is_empty() {
            let key = SigningKey::make(name_of(1))?;
            let sealed = master.seal(&key.name, key.secret.as_bytes(), ids)?;
            writer.put(Record::Secret(SecretRecord { name: key.name.clone(), sealed, created_at: now })).await?;
            keys.push(key);
        }
        Ok(Self { keys, audience: format!("{:032x}", reads.deployment_id()), ids: ids.clone() })
    }

    /// Makes a token for a user; gives it and when it ends.
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
    ) -> Result<(String, Timestamp), TokensError> {
        let key = self.keys.last().ok_or(TokensError::Sign)?;
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
            iat: now.to_string(),
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
        if !shown.starts_with(PublicToken::HEADER) {
            return None;
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(shown).ok()?;
        let footer = untrusted.untrusted_footer();
        let key = self.keys.iter().find(|key| key.name.as_bytes() == footer)?;
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
        sound.then(|| Caller::User {
            user_id,
            whose,
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
    format!("token-key/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn tokens(audience: &str) -> Tokens {
        let ids = Ids::from_seed(SystemClock::shared(), 1);
        let keys = vec![SigningKey::make(name_of(1)).unwrap(), SigningKey::make(name_of(2)).unwrap()];
        Tokens { keys, audience: audience.to_owned(), ids }
    }

    const WHOSE: Whose = Whose::Tagged(7);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_token_says_whose_it_is_until_it_ends() {
        let tokens = tokens("here");
        let user_id = UserId::new("ünïcode/../%2F").unwrap();
        let made = at("2025-10-13T12:00:00.9Z");
        let (token, expires_at) = tokens.mint(&user_id, WHOSE, &[Readable::Usage], 60, made).unwrap();
        assert_eq!(expires_at, at("2025-10-13T12:01:00Z"));
        let caller = Caller::User { user_id, whose: WHOSE, reads_sessions: false, reads_usage: true, expires_at };
        assert_eq!(tokens.read(&token, made), Some(caller.clone()));
        assert_eq!(tokens.read(&token, at("2025-10-13T12:00:59.999Z")), Some(caller));
        assert_eq!(tokens.read(&token, expires_at), None);
        assert_eq!(tokens.read(&token, at("2025-10-13T11:58:00Z")), None);
    }

    #[test]
    fn a_token_of_somebody_unknown_does_not_tell_how_many_users_there_are() {
        let tokens = tokens("here");
        let now = at("2025-10-13T12:00:00Z");
        let user_id = UserId::new("u").unwrap();
        let masked = [(); 2].map(|()| {
            let (token, _) = tokens.mint(&user_id, Whose::From(UserNo(1_234)), &[], 60, now).unwrap();
            let Some(Caller::User { whose, .. }) = tokens.read(&token, now) else { panic!("{token} is not read") };
            assert_eq!(whose, Whose::From(UserNo(1_234)));
            let untrusted = UntrustedToken::<Public, V4>::try_from(token.as_str()).unwrap();
            // The signature stands behind the claims.
            let (claims, _) = untrusted.untrusted_message().split_last_chunk::<64>().unwrap();
            let claims: serde_json::Value = serde_json::from_slice(claims).unwrap();
            claims["whose"]["from"].as_u64().unwrap()
        });
        assert!(masked[0] != masked[1] && !masked.contains(&1_234), "{masked:?}");
    }

    #[test]
    fn a_token_with_any_byte_changed_is_none() {
        let tokens = tokens("here");
        let now = at("2025-10-13T12:00:00Z");
        let (token, _) = tokens.mint(&UserId::new("u").unwrap(), WHOSE, &[], 60, now).unwrap();
        for index in 0..token.len() {
            for byte in [b'A', b'B', b'0', b'.', b'-'] {
                let mut changed = token.clone().into_bytes();
                let was = std::mem::replace(&mut changed[index], byte);
                let changed = String::from_utf8(changed).unwrap();
                assert!(was == byte || tokens.read(&changed, now).is_none(), "byte {index}: {changed}");
            }
            let mut cut = token.clone();
            cut.remove(index);
            assert_eq!(tokens.read(&cut, now), None, "without byte {index}");
            assert_eq!(tokens.read(&token[..index], now), None, "cut at {index}");
        }
        assert_eq!(tokens.read(&format!("{token}A"), now), None);
        assert_eq!(tokens.read(&format!("{token}."), now), None);
    }

    #[test]
    fn a_token_of_another_store_key_or_purpose_is_none() {
        let (here, mut there) = (tokens("here"), tokens("there"));
        let now = at("2025-10-13T12:00:00Z");
        let user_id = UserId::new("u").unwrap();
        let (token, _) = there.mint(&user_id, WHOSE, &[], 60, now).unwrap();
        assert_eq!(here.read(&token, now), None);
        // The same signing keys, but another store.
        there.keys = here.keys.iter().map(SigningKey::copy).collect();
        let (token, _) = there.mint(&user_id, WHOSE, &[], 60, now).unwrap();
        assert!(there.read(&token, now).is_some());
        assert_eq!(here.read(&token, now), None);
        // Sound but for one thing each, signed with our own key.
        let key = here.keys.last().unwrap();
        let claims = |purpose: &str| {
            format!(
                r#"{{"sub":"u","aud":"here","whose":{{"tagged":7}},"purpose":"{purpose}","iat":"2025-10-13T12:00:00Z","nbf":"2025-10-13T12:00:00Z","exp":"2025-10-13T12:01:00Z","jti":"1","reads":[]}}"#
            )
        };
        let sign = |message: &str, footer: &str, implicit: &str| {
            PublicToken::sign(&key.secret, message.as_bytes(), Some(footer.as_bytes()), Some(implicit.as_bytes()))
                .unwrap()
        };
        assert!(here.read(&sign(&claims(PURPOSE), &key.name, PURPOSE), now).is_some());
        assert_eq!(here.read(&sign(&claims("other"), &key.name, PURPOSE), now), None);
        assert_eq!(here.read(&sign(&claims(PURPOSE), &key.name, "other"), now), None);
        assert_eq!(here.read(&sign(&claims(PURPOSE), "token-key/1", PURPOSE), now), None);
        assert_eq!(here.read(&sign(&claims(PURPOSE), "token-key/3", PURPOSE), now), None);
        assert_eq!(here.read(&sign("{}", &key.name, PURPOSE), now), None);
    }

    #[test]
    fn an_older_key_still_reads_what_it_signed() {
        let mut tokens = tokens("here");
        let now = at("2025-10-13T12:00:00Z");
        let newest = tokens.keys.pop().unwrap();
        let (token, _) = tokens.mint(&UserId::new("u").unwrap(), WHOSE, &[], 60, now).unwrap();
        tokens.keys.push(newest);
        assert!(tokens.read(&token, now).is_some());
    }

    impl SigningKey {
        fn copy(&self) -> Self {
            let secret = AsymmetricSecretKey::<V4>::from(self.secret.as_bytes()).unwrap();
            let public = AsymmetricPublicKey::<V4>::try_from(&secret).unwrap();
            Self { name: self.name.clone(), secret, public }
        }
    }
}
