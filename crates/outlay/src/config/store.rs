//! The address of a database that holds the store, whose password nobody is shown.

use std::fmt;
use std::ops::Range;

use secrecy::{ExposeSecret as _, SecretString};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// What stands for a password.
const HIDDEN: &str = "***";
/// How a password may stand among an address's parameters.
const PASSWORD: &str = "password=";

/// A database, and as whom it is used.
#[derive(Clone)]
pub struct StoreAddress {
    url: SecretString,
    shown: String,
    password: Option<SecretString>,
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StoreAddress").field(&self.shown).finish()
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl StoreAddress {
    /// Takes an address like `postgres://user:password@host/database`. Whether all of it means anything is seen where it is
    /// used.
    ///
    /// # Errors
    /// What is wrong, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown =
            shown(text).ok_or("must be like postgres://user@host/database; all else is kept in a data folder")?;
        Ok(Self { url: SecretString::from(text), shown, password: None })
    }

    /// The same with a password that stands elsewhere.
    #[must_use]
    pub fn with_password(self, password: SecretString) -> Self {
        Self { password: Some(password), ..self }
    }

    /// Whether a password stands in the address itself.
    pub fn has_password(&self) -> bool {
        self.shown != self.url.expose_secret()
    }

    /// The address as it was said, which may hold a password.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// The password that stands elsewhere.
    pub fn password(&self) -> Option<&SecretString> {
        self.password.as_ref()
    }
}

/// An address without its password; `None` for what is none, of which nothing can be shown. It hides too much sooner than too
/// little: a password whose `/` or `@` is not encoded is hidden as well, and one that looks like a parameter.
pub(super) fn shown(text: &str) -> Option<String> {
    let scheme = SCHEMES.into_iter().find(|scheme| text.starts_with(scheme))?;
    let rest = text.strip_prefix(scheme)?;
    let mut shown = scheme.to_owned();
    let mut at = 0;
    for secret in secrets(rest) {
        // What reaches into the one before is hidden with it.
        if at == 0 || secret.start > at {
            shown.push_str(rest.get(at..secret.start).unwrap_or_default());
            shown.push_str(HIDDEN);
        }
        at = at.max(secret.end);
    }
    shown.push_str(rest.get(at..).unwrap_or_default());
    Some(shown)
}

/// Where passwords stand in what follows the scheme, in order: between the first user's `:` and the last `@`, and as parameters.
fn secrets(rest: &str) -> Vec<Range<usize>> {
    let parameter = |(at, name): (usize, &str)| {
        let start = at + name.len();
        let end = rest.get(start..).and_then(|value| value.find('&')).map_or(rest.len(), |length| start + length);
        start..end
    };
    let mut secrets: Vec<Range<usize>> = rest.match_indices(PASSWORD).map(parameter).collect();
    if let Some((who, _)) = rest.rsplit_once('@')
        && let Some((user, _)) = who.split_once(':')
    {
        secrets.push(user.len() + 1..who.len());
    }
    secrets.sort_by_key(|secret| secret.start);
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_wherever_that_stands() {
        for (text, expected) in [
            ("postgres://outlay@db/outlay", "postgres://outlay@db/outlay"),
            ("postgres://outlay:s3cret@db/outlay", "postgres://outlay:***@db/outlay"),
            (
                "postgresql://o:s3cret@a:1,b:2/outlay?sslmode=verify-full",
                "postgresql://o:***@a:1,b:2/outlay?sslmode=verify-full",
            ),
            ("postgres://o:s3/c@r?et@db/outlay", "postgres://o:***@db/outlay"),
            ("postgres://o@db/outlay?password=s3c@ret&x=1", "postgres://o@db/outlay?password=***&x=1"),
            ("postgres://o@/outlay?host=/run&password=s3cret", "postgres://o@/outlay?host=/run&password=***"),
            ("postgres://o:s3c&password=s3c@db/outlay", "postgres://o:***"),
            ("postgres://o@db:5432/outlay?password=s3c@s3c&x=1", "postgres://o@db:***&x=1"),
        ] {
            let address = StoreAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(address.has_password(), text != expected, "{text}");
            assert!(!format!("{address:?}").contains("s3c"), "{address:?}");
        }
        for text in ["mysql://o:s3cret@db/outlay", "host=db password=s3cret", ""] {
            assert!(!StoreAddress::parse(text).unwrap_err().contains("s3cret"));
        }
    }
}
