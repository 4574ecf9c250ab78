//! The rules of Outlay, and nothing else: what money, months, plans, sessions and holds are, and what each command does.
//!
//! # The map
//! - [`money`], [`month`], [`id`]: values, exact and checked when they are made.
//! - [`plan`], [`budget`]: limits, and the one question asked of them, [`budget::MeterBudget::fits`].
//! - [`operation`], [`session`], [`denial`], [`alert`], [`user`]: the rows of the books.
//! - [`breakdown`]: what an operation adds to the sums per day.
//! - [`ledger`]: commands, books, and [`ledger::decide`], a pure function.
//!
//! # Invariants
//! - The same books and commands give the same decisions, always: nothing here knows a clock, a disk, a network, JSON,
//!   SQL or randomness. Time and made-up ids are arguments.
//! - Every counter is a sum over operations; a decision writes only rows that were loaded for it.
//! - Money is integers: picodollars. The only refusals of a sound fact are sums that no column could hold.

#![warn(missing_docs)]
// Here a sum that wraps would be wrong money; tests add what they like.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::float_arithmetic))]

pub mod alert;
pub mod breakdown;
pub mod budget;
pub mod collections;
pub mod denial;
pub mod id;
pub mod ledger;
pub mod money;
pub mod month;
pub mod operation;
pub mod plan;
pub mod session;
pub mod user;
