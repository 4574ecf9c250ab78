//! The addresses of the pages, relative to the one that is shown.

use outlay_core::id::{OperationId, SessionId, UserId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a path or a query.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as part of a path or a query.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// Makes addresses as seen from one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// What leads to the first page, like `../`; empty on pages beside it.
    root: String,
}

impl Links {
    /// From a page with this path, like `/users/alice`.
    pub fn from_path(path: &str) -> Self {
        Self { root: "../".repeat(path.bytes().filter(|byte| *byte == b'/').count().saturating_sub(1)) }
    }

    /// What leads to the first page's folder.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A page by its path without the first slash, with its query.
    pub fn to(&self, path: &str, query: &Query) -> String {
        let (root, query) = (&self.root, query.as_str());
        if path.is_empty() { format!("{root}./{query}") } else { format!("{root}{path}{query}") }
    }

    /// A user's page.
    pub fn user(&self, user_id: &UserId, query: &Query) -> String {
        self.to(&user_path(user_id), query)
    }

    /// A session's page.
    pub fn session(&self, user_id: &UserId, session_id: &SessionId) -> String {
        let path = format!("{}/sessions/{}", user_path(user_id), encoded(session_id.as_str()));
        self.to(&path, &Query::new())
    }

    /// An operation's page.
    pub fn operation(&self, user_id: &UserId, operation_id: &OperationId) -> String {
        let path = format!("{}/operations/{}", user_path(user_id), encoded(operation_id.as_str()));
        self.to(&path, &Query::new())
    }
}

/// The path of a user's page, without the first slash.
pub fn user_path(user_id: &UserId) -> String {
    format!("users/{}", encoded(user_id.as_str()))
}

/// A query string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a parameter more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(&value.to_string()));
        self
    }

    /// With a parameter more, if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The text, with its `?` unless it is empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_from_any_depth_to_any_page() {
        let query = Query::new().with("month", "2025-10").with_some("q", Some("a b&c")).with_some("plan", None::<&str>);
        assert_eq!(Links::from_path("/").to("", &query), "./?month=2025-10&q=a%20b%26c");
        let user = UserId::new("a/b?<c>").unwrap();
        let links = Links::from_path("/users/a/sessions/b");
        assert_eq!(links.user(&user, &Query::new()), "../../../users/a%2Fb%3F%3Cc%3E");
        assert_eq!(links.to("", &Query::new()), "../../.././");
    }
}
