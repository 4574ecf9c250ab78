//! Tokens: whose they are, until when, and what is none.

use super::*;
use crate::clock::SystemClock;

fn tokens(audience: &str) -> Tokens {
    let ids = Ids::from_seed(SystemClock::shared(), 1);
    let keys = vec![SigningKey::make(name_of(1)).unwrap(), SigningKey::make(name_of(2)).unwrap()];
    let master = MasterKey::new(&secrecy::SecretBox::new(Box::new([7; 32])));
    let rotating = tokio::sync::Mutex::default();
    Tokens { keys: RwLock::new(keys.into()), master, rotating, audience: audience.to_owned(), ids }
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
    let (token, expires_at) = tokens.mint(&user_id, WHOSE, &[Readable::Usage], 60, made, made).unwrap();
    assert_eq!(expires_at, at("2025-10-13T12:01:00Z"));
    let caller =
        Caller::User { user_id, whose: WHOSE, made_at: made, reads_sessions: false, reads_usage: true, expires_at };
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
        let (token, _) = tokens.mint(&user_id, Whose::From(UserNo(1_234)), &[], 60, now, now).unwrap();
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
    let (token, _) = tokens.mint(&UserId::new("u").unwrap(), WHOSE, &[], 60, now, now).unwrap();
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
    let (token, _) = there.mint(&user_id, WHOSE, &[], 60, now, now).unwrap();
    assert_eq!(here.read(&token, now), None);
    // The same signing keys, but another store.
    there.keys = RwLock::new(here.keys.read().iter().map(SigningKey::copy).collect());
    let (token, _) = there.mint(&user_id, WHOSE, &[], 60, now, now).unwrap();
    assert!(there.read(&token, now).is_some());
    assert_eq!(here.read(&token, now), None);
    // Sound but for one thing each, signed with our own key.
    let keys = Arc::clone(&here.keys.read());
    let key = keys.last().unwrap();
    let claims = |purpose: &str| {
        format!(
            r#"{{"sub":"u","aud":"here","whose":{{"tagged":7}},"purpose":"{purpose}","iat":"2025-10-13T12:00:00Z","nbf":"2025-10-13T12:00:00Z","exp":"2025-10-13T12:01:00Z","jti":"1","reads":[]}}"#
        )
    };
    let sign = |message: &str, footer: &str, implicit: &str| {
        PublicToken::sign(&key.secret, message.as_bytes(), Some(footer.as_bytes()), Some(implicit.as_bytes())).unwrap()
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
    let (oldest, both) =
        (tokens.keys.read()[..1].iter().map(SigningKey::copy).collect(), Arc::clone(&tokens.keys.read()));
    tokens.keys = RwLock::new(oldest);
    let (token, _) = tokens.mint(&UserId::new("u").unwrap(), WHOSE, &[], 60, now, now).unwrap();
    tokens.keys = RwLock::new(both);
    assert!(tokens.read(&token, now).is_some());
}

impl SigningKey {
    fn copy(&self) -> Self {
        let secret = AsymmetricSecretKey::<V4>::from(self.secret.as_bytes()).unwrap();
        let public = AsymmetricPublicKey::<V4>::try_from(&secret).unwrap();
        Self { name: self.name.clone(), secret, public }
    }
}
