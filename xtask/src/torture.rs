//! Builds the program and what tortures it, optimized, and runs that.

use std::path::Path;

use crate::run::{Failed, Step, root};

/// What the long run does of each.
const LONG: [&[&str]; 8] = [
    &["kills", "--kills", "1000"],
    &["calls"],
    &["upgrade"],
    &["fsync"],
    &["fsync", "--drawn", "50"],
    &["cuts", "--cuts", "1000"],
    &["paused", "--pauses", "10"],
    &["full", "--fills", "50"],
];

/// Runs one mode.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failed> {
    build()?;
    program().arguments(arguments).run()
}

/// Runs all of them, at length.
pub(crate) fn long() -> Result<(), Failed> {
    build()?;
    LONG.iter().try_for_each(|arguments| program().arguments(arguments).run())?;
    program().arguments(&["clock", "--jumps", "200"]).run()
}

fn build() -> Result<(), Failed> {
    // The clock that can be turned is in no release.
    let what = ["--package", "outlay", "--package", "outlay-sim", "--bin", "outlay", "--bin", "outlay-torture"];
    Step::cargo(&["build", "--release", "--features", "outlay/test-clock"]).arguments(&what).run()
}

fn program() -> Step {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |target| Path::new(&target).to_owned());
    Step::program(&target.join("release/outlay-torture"))
}
