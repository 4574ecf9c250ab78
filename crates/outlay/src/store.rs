//! Where the ledger's rows are kept.

pub mod embedded;
