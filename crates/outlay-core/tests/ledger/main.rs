//! The rules, one sentence a test: scripts of commands and what they must answer.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where something is not as it says")]
#![expect(clippy::format_push_string, clippy::format_collect, reason = "scripts are built as they read")]

mod books;
mod checks;
mod recording;
#[path = "../support/rows.rs"]
mod rows;
mod scenarios;
mod script;
mod sessions;
mod users;
mod verifying;
