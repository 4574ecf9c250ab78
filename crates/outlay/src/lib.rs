//! Everything of Outlay that touches the world; the rules are in `outlay-core`.
//!
//! Knowledge flows one way: `cli` and `http` know the [`writer`], which knows the [`store`], which knows the core.

pub mod audit;
pub mod audit_copy;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod feed;
pub mod forecast;
pub mod http;
pub mod ids;
pub mod local;
pub mod metrics;
pub mod recheck;
pub mod retention;
pub mod seal;
pub mod store;
mod sums;
pub mod tls;
pub mod traces;
pub mod web;
pub mod writer;
