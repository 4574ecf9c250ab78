//! Keys: their form, and the routes that make, list and revoke them.
//!
//! A key is `outlay_app_` (or `_admin_`, `_view_`), 30 base62 characters from the operating system and 6 of checksum, so
//! that a mistyped one is refused without a lookup. Only its SHA-256 is kept.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outlay_core::month::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::body::{JsonBody, string, time, word};
use super::json::{Json, Object};
use super::page::Parameters;
use super::problem::{Kind, Problem};
use super::{SharedApp, schemas};
use crate::audit::{Action, Actor, Facts};
use crate::ids::Ids;
use crate::store::Record;
use crate::store::records::{KeyRecord, Role};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key that are random: 178 bits.
const RANDOM_CHARACTERS: usize = 30;
/// Characters of the checksum: 62^6 is above 2^32.
const CHECK_CHARACTERS: usize = 6;

/// Characters of a key's id that are random.
const ID_CHARACTERS: usize = 16;

/// Characters of a description, at most.
pub(super) const DESCRIPTION_CHARACTERS_MAX: usize = 256;

/// All keys
///
/// The oldest first, revoked ones too. Of a key itself only the beginning and the last four characters are kept to be shown.
#[utoipa::path(get, path = "/v1/keys", tag = "Operator",
    operation_id = "listKeys",
    responses((status = 200, description = "The keys, all in one page", body = super::openapi::Keys),
        schemas::ReadProblems))]
pub(super) async fn list(State(app): State<SharedApp>, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    let keys = app.reads.keys();
    let json = Json::of_object(|object| {
        object.array("items", &keys, |json, key| json.object(|object| described(object, key)));
        object.put("nextCursor", None::<&str>);
    });
    Ok(json.answer(StatusCode::OK))
}

/// Make a key
///
/// The key is in the answer, and never shown again.
#[utoipa::path(post, path = "/v1/keys", tag = "Operator",
    operation_id = "createKey", request_body = super::openapi::NewKey,
    responses((status = 201, description = "The key, shown this once", body = super::openapi::Key),
        schemas::WriteProblems))]
pub(super) async fn create(State(app): State<SharedApp>, actor: Actor, body: JsonBody) -> Result<Response, Problem> {
    let now = app.clock.wall();
    let mut fields = body.object()?;
    let role = fields.required("role", word(Role::parse, "viewer, app or admin"));
    let description = fields.optional("description", |raw| {
        let text = string(raw)?;
        if is_description(&text) {
            Ok(text.into_owned())
        } else {
            Err(format!("must have at most {DESCRIPTION_CHARACTERS_MAX} characters, none of them control characters"))
        }
    });
    let expires_at = fields.optional("expiresAt", |raw| {
        time(raw).and_then(|end| if end > now { Ok(end) } else { Err("must be in the future".to_owned()) })
    });
    let role = fields.finish(role)?;
    let (key, record) = make(role, description.unwrap_or_default(), expires_at, &app.ids, now)
        .map_err(|error| Problem::new(Kind::Internal).because(error))?;
    keep(&app, &actor, &record).await?;
    let json = Json::of_object(|object| {
        described(object, &record);
        object.put("key", key.expose_secret());
    });
    Ok(json.answer(StatusCode::CREATED))
}

/// Revoke a key
///
/// It opens nothing from this answer on. Revoking it again changes nothing.
#[utoipa::path(delete, path = "/v1/keys/{keyId}", tag = "Operator",
    operation_id = "revokeKey",
    params(("keyId" = String, Path, description = "The key's id, like `key_7Qm2ZkXv1rT9bLcE`")),
    responses((status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such key", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn revoke(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    end(&app, &actor, path.as_ref().map(|Path(id)| id.as_str())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether a text can say what a key is for.
pub(super) fn is_description(text: &str) -> bool {
    text.chars().count() <= DESCRIPTION_CHARACTERS_MAX && !text.chars().any(char::is_control)
}

/// Keeps a key that was just made.
pub(super) async fn keep(app: &SharedApp, actor: &Actor, record: &KeyRecord) -> Result<(), Problem> {
    let event = actor.did(Action::KeyCreated).on(&record.id).after(facts(record));
    app.writer.put_as(event, Record::Key(record.clone())).await?;
    tracing::info!(key.id = record.id, role = record.role.as_str(), "made a key");
    Ok(())
}

/// What the audit log says of a key: not what it is for, which may name a person.
fn facts(key: &KeyRecord) -> Facts {
    let ends = key.expires_at.map(|end| end.to_string());
    Facts::new().text("role", key.role.as_str()).text_or_null("expiresAt", ends.as_deref())
}

/// Ends a key; again changes nothing.
pub(super) async fn end(app: &SharedApp, actor: &Actor, id: Option<&str>) -> Result<(), Problem> {
    let key = id.and_then(|id| app.reads.keys().into_iter().find(|key| key.id == id));
    let key = key.ok_or_else(|| Problem::new(Kind::NotFound).detail("There is no key with this id."))?;
    if key.revoked_at.is_none() {
        let event = actor.did(Action::KeyRevoked).on(&key.id).before(facts(&key));
        app.writer.put_as(event, Record::RevokeKey { id: key.id.clone(), at: app.clock.wall() }).await?;
        tracing::info!(key.id = key.id, "revoked a key");
    }
    Ok(())
}

fn described(object: &mut Object<'_>, key: &KeyRecord) {
    object
        .put("id", key.id.as_str())
        .put("role", key.role.as_str())
        .put("description", key.description.as_str())
        .put("prefix", key.role.key_prefix())
        .put("last4", key.last4.as_str())
        .put("createdAt", key.created_at)
        .put("expiresAt", key.expires_at)
        .put("revokedAt", key.revoked_at);
}

/// Makes a key: what is shown once, and what is kept.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn make(
    role: Role,
    description: String,
    expires_at: Option<Timestamp>,
    ids: &Ids,
    now: Timestamp,
) -> Result<(SecretString, KeyRecord), getrandom::Error> {
    let body = format!("{}{}", role.key_prefix(), random(RANDOM_CHARACTERS, ids)?);
    let key = format!("{body}{}", checksum(&body));
    let record = KeyRecord {
        id: format!("key_{}", random(ID_CHARACTERS, ids)?),
        digest: Sha256::digest(&key).into(),
        role,
        description,
        last4: key.chars().skip(key.len() - 4).collect(),
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    Ok((SecretString::from(key), record))
}

/// Base62 characters, each as likely as any other.
pub(super) fn random(count: usize, ids: &Ids) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0; 32];
        ids.secret(&mut bytes)?;
        // 248 is the largest multiple of 62 in a byte; what is above would favour the first characters.
        let even = bytes.iter().filter(|&&byte| byte < 248);
        let characters = even.filter_map(|byte| BASE62.get(usize::from(byte % 62)).copied().map(char::from));
        text.extend(characters.take(count - text.len()));
    }
    Ok(text)
}

/// Whether a text with the form of our keys has the right checksum; `None` when it has not the form.
pub(super) fn checksum_holds(shown: &str) -> Option<bool> {
    let rest = Role::ALL.iter().find_map(|role| shown.strip_prefix(role.key_prefix()))?;
    if rest.len() != RANDOM_CHARACTERS + CHECK_CHARACTERS || !rest.is_ascii() {
        return Some(false);
    }
    let (body, check) = shown.split_at(shown.len() - CHECK_CHARACTERS);
    Some(check == checksum(body))
}

/// CRC32 of the prefix and the random part, in base62.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECK_CHARACTERS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_key_says_its_role_and_shows_a_slip_of_the_pen() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        for role in Role::ALL {
            let (key, record) = make(role, String::new(), None, &ids, Timestamp::EPOCH).unwrap();
            let key = key.expose_secret();
            assert!(key.starts_with(role.key_prefix()) && key.ends_with(&record.last4), "{key}");
            assert_eq!(record.last4.len(), 4);
            assert_eq!(key.len(), role.key_prefix().len() + 36);
            assert_eq!(checksum_holds(key), Some(true));
            assert_eq!(record.digest.as_slice(), Sha256::digest(key).as_slice());
            assert_eq!(record.id.len(), 20);
            for index in role.key_prefix().len()..key.len() {
                for other in ['a', 'b', '0', '_'] {
                    let mut wrong: Vec<char> = key.chars().collect();
                    let was = std::mem::replace(&mut wrong[index], other);
                    let wrong: String = wrong.into_iter().collect();
                    assert!(was == other || checksum_holds(&wrong) == Some(false), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn each_character_is_as_likely_as_any_other() {
        let ids = Ids::from_seed(SystemClock::shared(), 1);
        let text = random(62_000, &ids).unwrap();
        assert_eq!(text.len(), 62_000);
        for character in BASE62 {
            let count = text.bytes().filter(|byte| byte == character).count();
            // Six times the root of 1,000 either way.
            assert!((810..=1_190).contains(&count), "{} {count} times", char::from(*character));
        }
    }

    #[test]
    fn only_keys_of_our_form_have_a_checksum() {
        assert_eq!(checksum_holds("outlay_app_short"), Some(false));
        assert_eq!(checksum_holds(&format!("outlay_app_{}", "é".repeat(18))), Some(false));
        assert_eq!(
            checksum_holds(&format!("outlay_app_0{}0", "é".repeat(17))),
            Some(false),
            "a sign where it is split"
        );
        assert_eq!(checksum_holds("outlay_app_000000000000000000000000000000037v9zI"), Some(false), "one too many");
        assert_eq!(checksum_holds("the-admin-key-of-a-test-0123456789abcdef"), None);
        assert_eq!(checksum_holds(""), None);
        // Known for ever: keys outlive versions.
        assert_eq!(checksum_holds("outlay_app_00000000000000000000000000000037v9zI"), Some(true));
    }
}
