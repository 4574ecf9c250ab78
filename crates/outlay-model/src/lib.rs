//! A second opinion on the ledger, for tests: what it must answer, summed from scratch, and random commands to ask it.
//!
//! - [`naive`]: the model: lists of what happened, and every figure added up anew each time.
//! - [`seen`]: the one form in which the answers of the ledger and those of the model are compared.
//! - [`generate`]: random cases from a seed, in words such as "one pico more than is left".
//! - [`words`]: those words as commands, at the moment when they are said.
//!
//! It shares the core's commands and values and none of its rules.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where something is not as it says")]
#![expect(clippy::missing_panics_doc, reason = "what is unwrapped here was made here")]

pub mod generate;
pub mod naive;
pub mod seen;
pub mod words;
