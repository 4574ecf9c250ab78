//! Keys: their form, and the routes that make, list and revoke them.
//!
//! A key is `outlay_app_` (or `_admin_`, `_view_`), 30 base62 characters from the operating system and 6 of checksum, so
//! that a mistyped one is refused without a lookup. Only its SHA-256 is kept.

use outlay_core::month::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::ids::Ids;
use crate::store::records::{KeyRecord, Role};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key that are random: 178 bits.
const RANDOM_CHARACTERS: usize = 30;
/// Characters of the checksum: 62^6 is above 2^32.
const CHECK_CHARACTERS: usize = 6;

/// Characters of a key's id that are random.
const ID_CHARACTERS: usize = 16;

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
fn random(count: usize, ids: &Ids) -> Result<String, getrandom::Error> {
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
    fn only_keys_of_our_form_have_a_checksum() {
        assert_eq!(checksum_holds("outlay_app_short"), Some(false));
        assert_eq!(checksum_holds(&format!("outlay_app_{}", "é".repeat(18))), Some(false));
        assert_eq!(checksum_holds("the-admin-key-of-a-test-0123456789abcdef"), None);
        assert_eq!(checksum_holds(""), None);
        // Known for ever: keys outlive versions.
        assert_eq!(checksum_holds("outlay_app_00000000000000000000000000000037v9zI"), Some(true));
    }
}
