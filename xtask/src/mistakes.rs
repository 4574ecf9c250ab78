//! Mistakes that are put into the program on purpose, to see that the simulation finds each of them.
//!
//! Those of the embedded store are patches beside the simulation. Each is put into a copy of the sources, built there and run
//! until a seed tells, and taken back; so nothing of them is ever in the program. Those of several nodes are built into the
//! simulation itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::run::{Failed, root};

/// Where the patches are, from the workspace's folder. Each begins with a line that says what it does.
const PATCHES: &str = "crates/outlay-sim/mistakes";
/// Where they are tried, likewise.
const TRIED_IN: &str = "target/mistakes";
/// Seeds within which each must be found.
const SEEDS: &str = "0..1000";
/// Seconds after which a run is taken to be stuck, which is a way to be found as well; a run takes a moment.
const STUCK_AFTER: &str = "30";

/// A patch.
struct Patch {
    name: String,
    path: PathBuf,
    does: String,
}

/// What came of a mistake.
struct Tried {
    name: String,
    does: String,
    /// The seed that told, and what it said in a line; none if no seed did.
    found: Option<(String, String)>,
}

/// Whether each patch still applies, which is what a change of the program breaks first.
pub(crate) fn lint() -> Result<(), Failed> {
    let patches = patches()?;
    println!("\n$ git apply --check {PATCHES}/*.patch, one by one");
    for patch in &patches {
        let checked = output(Command::new("git").args(["apply", "--check"]).arg(&patch.path).current_dir(root()))?;
        if !checked.status.success() {
            return Err(Failed(format!("{PATCHES}/{}.patch does not apply: {}", patch.name, text(&checked.stderr))));
        }
    }
    println!("xtask: {} patches apply", patches.len());
    Ok(())
}

/// Tries the mistakes of these names, or all.
pub(crate) fn run(names: &[String]) -> Result<(), Failed> {
    let copy = Copy { sources: root().join(TRIED_IN).join("source"), build: root().join(TRIED_IN).join("build") };
    copy.follow()?;
    let patches = patches()?;
    let unpatched = copy.program()?;
    let of_nodes = output(Command::new(&unpatched).arg("--mistakes"))?;
    let of_nodes: Vec<String> = text(&of_nodes.stdout).lines().map(str::to_owned).collect();
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let known = |name: &str| patches.iter().any(|patch| patch.name == name) || of_nodes.iter().any(|of| of == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> =
            patches.iter().map(|patch| patch.name.as_str()).chain(of_nodes.iter().map(String::as_str)).collect();
        return Err(Failed(format!("there is no mistake `{unknown}`: give some of {}", all.join(", "))));
    }
    let mut tried = Vec::new();
    for name in of_nodes.iter().filter(|name| is_asked(name)) {
        let found = find(&unpatched, &["--nodes", "--mistake", name])?;
        tried.push(told(Tried { name: name.clone(), does: "made by a node".to_owned(), found }));
    }
    for patch in patches.into_iter().filter(|patch| is_asked(&patch.name)) {
        copy.apply(&patch, &[])?;
        let found = copy.program().and_then(|program| find(&program, &[]));
        copy.apply(&patch, &["--reverse"])?;
        tried.push(told(Tried { name: patch.name, does: patch.does, found: found? }));
    }
    table(&tried)
}

fn told(tried: Tried) -> Tried {
    match &tried.found {
        Some((seed, said)) => println!("{}: seed {seed}: {}", tried.name, shortened(said)),
        None => println!("{}: NOT FOUND in seeds {SEEDS}", tried.name),
    }
    tried
}

/// Prints what came of them, as the table of `docs/testing.md`.
fn table(tried: &[Tried]) -> Result<(), Failed> {
    println!("\n| mistake | what it does | caught by seed | what it said |\n|---|---|---|---|");
    for Tried { name, does, found } in tried {
        let (seed, said) = found.as_ref().map_or(("none", ""), |(seed, said)| (seed, said));
        println!("| `{name}` | {does} | {seed} | {} |", shortened(said).replace('|', "\\|"));
    }
    let missed: Vec<&str> =
        tried.iter().filter(|tried| tried.found.is_none()).map(|tried| tried.name.as_str()).collect();
    if missed.is_empty() {
        println!("\nxtask: each of {} mistakes was caught", tried.len());
        return Ok(());
    }
    Err(Failed(format!("not caught within seeds {SEEDS}: {}", missed.join(", "))))
}

/// As much of a line as a table takes.
fn shortened(said: &str) -> String {
    const CHARACTERS_MAX: usize = 160;
    let words: Vec<&str> = said.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= CHARACTERS_MAX {
        return line;
    }
    line.chars().take(CHARACTERS_MAX).chain("...".chars()).collect()
}

fn patches() -> Result<Vec<Patch>, Failed> {
    let folder = root().join(PATCHES);
    let mut patches = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, &error))? {
        let path = entry.map_err(|error| failed(&folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let does = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let does = does.lines().next().unwrap_or_default().to_owned();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        patches.push(Patch { name, path, does });
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

/// Runs seeds until one tells.
fn find(program: &Path, arguments: &[&str]) -> Result<Option<(String, String)>, Failed> {
    let mut command = Command::new(program);
    let output = output(command.args(arguments).args(["--find", "--seeds", SEEDS, "--stuck-after", STUCK_AFTER]))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let line = said.lines().find_map(|line| line.strip_prefix("seed "));
    let (seed, what) = line.and_then(|line| line.split_once([':', ' '])).unwrap_or(("unknown", &said));
    Ok(Some((seed.to_owned(), what.trim().to_owned())))
}

/// A copy of what the workspace tracks, with a build of its own that stays warm.
struct Copy {
    sources: PathBuf,
    build: PathBuf,
}

impl Copy {
    /// Makes the copy what the workspace is. What is equal stays untouched, so that it is not built anew; so does what no
    /// longer is there, which nothing names.
    fn follow(&self) -> Result<(), Failed> {
        let tracked = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root()))?;
        for name in text(&tracked.stdout).split_terminator('\0') {
            let (from, to) = (root().join(name), self.sources.join(name));
            // One that is deleted and not committed yet.
            let Ok(bytes) = fs::read(&from) else { continue };
            if fs::read(&to).is_ok_and(|before| before == bytes) {
                continue;
            }
            let folder = to.parent().unwrap_or(&self.sources);
            fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
            fs::write(&to, bytes).map_err(|error| failed(&to, &error))?;
        }
        Ok(())
    }

    fn apply(&self, patch: &Patch, how: &[&str]) -> Result<(), Failed> {
        let mut command = Command::new("git");
        // The copy is no part of the repository in whose ignored folder it lies.
        command.env("GIT_CEILING_DIRECTORIES", root().join(TRIED_IN)).current_dir(&self.sources);
        let applied = output(command.arg("apply").args(how).arg(&patch.path))?;
        let what = || Failed(format!("{}.patch does not apply: {}", patch.name, text(&applied.stderr)));
        if applied.status.success() { Ok(()) } else { Err(what()) }
    }

    /// Builds the simulation, and gives where it is.
    fn program(&self) -> Result<PathBuf, Failed> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // Optimized a little: it is built once for each, and most are found soon.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_TARGET_DIR", &self.build).current_dir(&self.sources);
        let built = output(command.args(["build", "--quiet", "--package", "outlay-sim", "--bin", "outlay-sim"]))?;
        if !built.status.success() {
            return Err(Failed(format!("the simulation does not build: {}", text(&built.stderr))));
        }
        Ok(self.build.join("debug/outlay-sim"))
    }
}

fn output(command: &mut Command) -> Result<Output, Failed> {
    command.output().map_err(|error| Failed(format!("{command:?}: {error}")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}

fn failed(path: &Path, error: &io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}
