//! What `cargo xtask test` runs, in which order, and how much of it.

use crate::fuzz;
use crate::node;
use crate::packages;
use crate::run::{Failed, Step};
use crate::schemathesis;
use crate::torture;

/// How much of each random test is run.
struct Amount {
    /// Kills of the running server.
    kills: &'static str,
    /// Cases of each property test.
    cases: &'static str,
    /// Random command streams of the ledger beside the model; each takes about a millisecond.
    streams: &'static str,
    /// Seeds of the simulation.
    seeds: &'static str,
    /// Primaries of PostgreSQL that are replaced under load.
    failovers: &'static str,
}

const SHORT: Amount = Amount { kills: "10", cases: "256", streams: "10000", seeds: "500", failovers: "2" };
const LONG: Amount = Amount { kills: "200", cases: "4096", streams: "200000", seeds: "10000", failovers: "50" };

/// Seconds of each fuzz target in a long run.
const FUZZ_SECONDS: u32 = 60;

/// All tests.
pub(crate) fn all(long: bool, only_rust: bool) -> Result<(), Failed> {
    let amount = if long { LONG } else { SHORT };
    // The built program reads the time from a file in these runs: only so a test can turn the month.
    let run = |seeds: &str, arguments: &[&str]| {
        Step::cargo(&["test", "--features", "outlay/test-clock"])
            .arguments(arguments)
            .variable("OUTLAY_KILLS", amount.kills)
            .variable("OUTLAY_CASES", amount.streams)
            .variable("OUTLAY_SEEDS", seeds)
            .variable("OUTLAY_FAILOVERS", amount.failovers)
            .variable("PROPTEST_CASES", amount.cases)
            .run()
    };
    packages::postgres()?;
    packages::pooler()?;
    run(SHORT.seeds, &["--workspace"])?;
    if !only_rust {
        node::test(long)?;
    }
    if long {
        schemathesis::run(schemathesis::EXAMPLES)?;
        // Once, since its leases must run out.
        packages::patroni()?;
        run(SHORT.seeds, &["--package", "outlay", "--test", "it", "nodes::patroni", "--", "--ignored", "--nocapture"])?;
        // Optimized, since it is much, and with what is ignored in the short run: a crash at every write of every scenario.
        let of_streams = ["--test", "stream", "--test", "scenario", "--test", "nodes"];
        let arguments = [&["--release", "--package", "outlay-sim"], &of_streams[..], &["--", "--include-ignored"]];
        run(amount.seeds, &arguments.concat())?;
        torture::long()?;
        // A workspace of its own, built anew for the fuzzer: too long for every run.
        fuzz::run(None, FUZZ_SECONDS)?;
    }
    println!("\nxtask: all tests passed");
    Ok(())
}
