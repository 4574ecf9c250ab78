//! Letters: what is mailed, worded for the user whom it is about and for the operator.

/// One mail to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address, such as `ada@example.org`.
    pub to: String,
    /// What it is about, such as `alert_0a1b2c3d_17`: the same id makes the same `Message-ID` on every try.
    pub id: String,
    /// The subject line.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// Who reads a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// The user whose budget it is about.
    User,
    /// The operator, who reads whose it is.
    Operator,
}
