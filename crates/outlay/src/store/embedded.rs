//! The store that needs no server: one `SQLite` file.

pub mod runs;
