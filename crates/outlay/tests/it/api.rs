//! Each route of the contract: what it answers, with which status, and the rules it keeps.

mod access;
mod budget;
mod docs;
mod figures;
#[cfg(feature = "test-clock")]
mod forecast;
mod pages;
mod reading;
mod recording;
mod sessions;
mod surface;
