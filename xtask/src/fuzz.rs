//! Runs the fuzz targets of `fuzz/` with libFuzzer: the flags are those of `cargo fuzz run --sanitizer none`, which
//! work with a stable compiler, so that cargo-fuzz need not be installed. It runs the same targets.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::run::{Failed, Step, output_of, root, succeeds};

/// What makes a build tell libFuzzer which code a run reached.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1";

/// Runs one target, or all, each for so many seconds. Without a C++ compiler, which libFuzzer needs, their seeds are run as
/// plain tests instead.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<(), Failed> {
    if !succeeds(Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into())).arg("--version")) {
        println!(
            "\nxtask: there is no C++ compiler for libFuzzer: the seeds of each fuzz target are run as plain tests"
        );
        return Step::cargo(&["test", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"]).run();
    }
    let host = host().ok_or_else(|| Failed("learn the host's target from `rustc -vV`".to_owned()))?;
    let targets = match target {
        Some(target) => vec![target.to_owned()],
        None => targets()?,
    };
    let mut build = Step::cargo(&["build", "--manifest-path", "fuzz/Cargo.toml", "--release", "--target", &host]);
    for target in &targets {
        build = build.arguments(&["--bin", target]);
    }
    // With --target, build scripts and macros are built without these flags.
    build.variable("RUSTFLAGS", COVERAGE).run()?;
    for target in &targets {
        let corpus = folder("corpus", target)?;
        let artifacts = folder("artifacts", target)?;
        let program = root().join("fuzz/target").join(&host).join("release").join(target);
        Step::program(&program)
            .arguments(&[format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())])
            .arguments(&["-timeout=10", "-rss_limit_mb=2048"])
            .arguments(&[corpus, root().join("fuzz/seeds").join(target)])
            .run_shortly(|line| line.starts_with("Done "))?;
    }
    Ok(())
}

/// The targets are the files in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, Failed> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| Failed(format!("list {}: {error}", folder.display())))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn folder(kind: &str, target: &str) -> Result<PathBuf, Failed> {
    let folder = root().join("fuzz").join(kind).join(target);
    fs::create_dir_all(&folder).map_err(|error| Failed(format!("make {}: {error}", folder.display())))?;
    Ok(folder)
}

fn host() -> Option<String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}
