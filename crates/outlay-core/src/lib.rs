//! The rules of Outlay.
