//! Secrets and signatures as Standard Webhooks have them, version 1: HMAC with SHA-256 over id, time and body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ids::Ids;

/// What a secret's text begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here.
const BYTES: usize = 32;
/// Bytes that a secret may have, as the standard says.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;
/// Longest id of a message.
const ID_MAX: usize = 255;

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be `whsec_` and 24 to 64 bytes in base64")]
pub struct SecretError;

/// What an endpoint knows a message by to be ours. It is never printed.
pub struct SigningSecret(SecretBox<[u8]>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(***)")
    }
}

impl SigningSecret {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn make(ids: &Ids) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        ids.secret(bytes.as_mut_slice())?;
        Ok(Self::of(bytes.as_slice()))
    }

    /// Reads `whsec_...`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let bytes = Zeroizing::new(STANDARD.decode(bytes).map_err(|_| SecretError)?);
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) { Ok(Self::of(&bytes)) } else { Err(SecretError) }
    }

    /// The text that its receiver is given, once: `whsec_...`.
    pub fn text(&self) -> SecretString {
        let text = Zeroizing::new(STANDARD.encode(self.0.expose_secret()));
        SecretString::from(format!("{PREFIX}{}", *text))
    }

    fn of(bytes: &[u8]) -> Self {
        Self(SecretBox::new(bytes.to_vec().into_boxed_slice()))
    }

    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The `webhook-signature` header: one signature a secret. `None` without any, and for an id with anything but letters,
/// digits, `_` and `-`, since a dot would let the id and the time be told apart in two ways.
pub(super) fn signatures(secrets: &[SigningSecret], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let is_sound = !id.is_empty()
        && id.len() <= ID_MAX
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if secrets.is_empty() || !is_sound {
        return None;
    }
    Some(secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_message_is_signed_as_the_standards_own_example_is() {
        // From the specification's libraries: test vector of version 1.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn every_secret_signs_and_an_id_with_a_dot_is_not_signed() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        let secrets = [SigningSecret::make(&ids).unwrap(), SigningSecret::make(&ids).unwrap()];
        let both = signatures(&secrets, "alert_1", 1, b"{}").unwrap();
        let each: Vec<String> = secrets.iter().map(|secret| secret.sign("alert_1", 1, b"{}")).collect();
        assert_eq!(both, each.join(" "));
        assert_ne!(each[0], each[1]);
        for id in ["", "a.b", "a b", "a\r\nb", "ä", &"a".repeat(256)] {
            assert_eq!(signatures(&secrets, id, 1, b"{}"), None, "{id:?}");
        }
        assert_eq!(signatures(&[], "alert_1", 1, b"{}"), None);
    }

    #[test]
    fn a_secret_is_read_back_from_its_text_and_never_printed() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        let secret = SigningSecret::make(&ids).unwrap();
        let text = secret.text();
        let again = SigningSecret::parse(text.expose_secret()).unwrap();
        assert_eq!(again.sign("a", 1, b""), secret.sign("a", 1, b""));
        assert_eq!(format!("{secret:?}"), "SigningSecret(***)");
        for wrong in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!!!"] {
            assert_eq!(SigningSecret::parse(wrong).err(), Some(SecretError), "{wrong}");
        }
    }
}
