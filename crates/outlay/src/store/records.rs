//! The record shapes of both stores that the core does not know: keys and secrets. Those of the ledger are the core's rows.

use outlay_core::month::Timestamp;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read, but no exports, keys or webhooks.
    Viewer,
    /// What the application does: read, record, hold, mint user tokens.
    App,
    /// All.
    Admin,
}

impl Role {
    /// All roles, from the least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::App, Self::Admin];

    /// The name on the wire and in the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::App => "app",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What a key of this role begins with.
    pub const fn key_prefix(self) -> &'static str {
        match self {
            Self::Viewer => "outlay_view_",
            Self::App => "outlay_app_",
            Self::Admin => "outlay_admin_",
        }
    }
}

/// A key as it is kept: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id, `key_` and 16 base62 characters.
    pub id: String,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// What it is for, in the operator's words.
    pub description: String,
    /// Its last four characters.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A secret sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// What it is, such as `token-key/1`; also the authenticated data of the seal.
    pub name: String,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}
