//! The address of a database that holds the store, whose password nobody is shown.

use std::fmt;

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
/// little: a password whose `/` or `@` is not encoded is hidden as well.
pub(super) fn shown(text: &str) -> Option<String> {
    let scheme = SCHEMES.into_iter().find(|scheme| text.starts_with(scheme))?;
    let mut rest = String::new();
    let mut left = text.strip_prefix(scheme)?;
    while let Some((before, after)) = left.split_once(PASSWORD) {
        rest.push_str(before);
        rest.push_str(PASSWORD);
        rest.push_str(HIDDEN);
        left = after.find('&').and_then(|end| after.get(end..)).unwrap_or_default();
    }
    rest.push_str(left);
    if let Some((who, where_to)) = rest.rsplit_once('@')
        && let Some((user, _)) = who.split_once(':')
    {
        rest = format!("{user}:{HIDDEN}@{where_to}");
    }
    Some(format!("{scheme}{rest}"))
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
