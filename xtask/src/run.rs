//! Runs one program and says so; leaves to its callers what to run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What did not work, as the command line that was printed for it.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// One program with its arguments, run in the workspace's folder.
pub(crate) struct Step {
    command: Command,
    shown: String,
}

impl Step {
    pub(crate) fn cargo(arguments: &[&str]) -> Self {
        // The cargo that runs this program, so that a `+toolchain` holds for its children too.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { command: Command::new(cargo), shown: "cargo".to_owned() }.arguments(arguments)
    }

    pub(crate) fn program(path: &Path) -> Self {
        let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
        Self { command: Command::new(path), shown }
    }

    pub(crate) fn arguments<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        for argument in arguments {
            let argument = argument.as_ref();
            self.command.arg(argument);
            self.shown.push(' ');
            self.shown.push_str(&argument.to_string_lossy());
        }
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown.insert_str(0, &format!("{name}='{value}' "));
        self
    }

    /// Runs it to its end, with its output where ours goes.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        self.say();
        let began = Instant::now();
        let status =
            self.command.current_dir(root()).status().map_err(|error| Failed(format!("{}: {error}", self.shown)))?;
        if !status.success() {
            return Err(Failed(format!("{} ({status})", self.shown)));
        }
        println!("xtask: done in {} s", began.elapsed().as_secs());
        Ok(())
    }

    /// Runs it to its end, and shows only these lines of what it says, unless it fails.
    pub(crate) fn run_shortly(mut self, shows: impl Fn(&str) -> bool) -> Result<(), Failed> {
        self.say();
        let output = self.command.current_dir(root()).stdin(Stdio::null()).output();
        let output = output.map_err(|error| Failed(format!("{}: {error}", self.shown)))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for line in said.lines().filter(|line| !output.status.success() || shows(line)) {
            println!("{line}");
        }
        if output.status.success() { Ok(()) } else { Err(Failed(format!("{} ({})", self.shown, output.status))) }
    }

    fn say(&self) {
        println!("\n$ {}", self.shown);
    }
}

/// Whether cargo has this subcommand.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    succeeds(Command::new("cargo").args([name, "--version"]))
}

/// Whether a program runs and ends well, without a word.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a program prints, without its last line break; `None` if it cannot be run.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
