//! The tests of what runs in Node and in a browser: the packages in `clients/`, and the pages in a real Chromium.

use std::process::Command;

use crate::packages::install;
use crate::run::{self, Failed, Step};

/// The oldest major version of Node that the packages' tools run on.
const NODE_MIN: u32 = 20;

/// Builds the packages and runs their tests against the program that the Rust tests were run with.
pub(crate) fn test(long: bool) -> Result<(), Failed> {
    install_what_is_missing()?;
    let program = run::root().join("target/debug/outlay");
    let npm = |arguments: &[&str]| {
        Step::program("npm".as_ref())
            .arguments(&["--prefix", "clients"])
            .arguments(arguments)
            .variable("OUTLAY_BIN", &program.display().to_string())
            .variable("NEXT_TELEMETRY_DISABLED", "1")
    };
    npm(&["ci"]).run()?;
    npm(&["test"]).run()?;
    npm(&["run", "test:next"]).run()?;
    if long {
        install("/usr/sbin/nginx", &["nginx-light"], "the pages are looked at through")?;
        npm(&["run", "test:long"]).run()?;
    }
    Ok(())
}

/// Measures the optimized program in a browser.
pub(crate) fn bench(arguments: &[String]) -> Result<(), Failed> {
    install_what_is_missing()?;
    Step::cargo(&["build", "--release", "--package", "outlay"]).run()?;
    Step::program("npm".as_ref()).arguments(&["--prefix", "clients", "ci"]).run()?;
    Step::program("node".as_ref())
        .arguments(&["web/bench/face.mjs"])
        .arguments(arguments)
        .variable("OUTLAY_BIN", &run::root().join("target/release/outlay").display().to_string())
        .run()
}

/// Node has to be there; a browser is taken from Debian where it is missing, by whoever may install it.
fn install_what_is_missing() -> Result<(), Failed> {
    let version = run::output_of(Command::new("node").arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MIN) || !run::succeeds(Command::new("npm").arg("--version")) {
        return Err(Failed(format!(
            "Node {NODE_MIN} or later with npm is needed for the packages' tests, and is {}: see https://nodejs.org, or run \
             `cargo xtask test --rust` for the others",
            if version.is_empty() { "not there".to_owned() } else { version }
        )));
    }
    install("/usr/bin/chromium", &["chromium", "fonts-dejavu-core"], "the card's and the pages' tests look through")
}
