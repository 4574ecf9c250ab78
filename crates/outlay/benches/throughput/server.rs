//! The programs under measurement, as child processes that end with this one's.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where its data is; empty when it has none.
    pub(crate) folder: PathBuf,
}

impl Server {
    /// The real one, as anybody would start it.
    pub(crate) fn outlay(folder: &Path) -> Self {
        Self::start(Self::command(folder), folder)
    }

    /// The same, with its store in a database.
    pub(crate) fn outlay_on(url: &str, folder: &Path) -> Self {
        let mut command = Self::command(folder);
        // Shared by all nodes; here nothing is secret.
        command.args(["--store", url]).env("OUTLAY_MASTER_KEY", "b3V0bGF5IG1lYXN1cmVkIGJlc2lkZSBpdHMgYm91bmQ=");
        Self::start(command, folder)
    }

    /// The same, which may tell receivers on this machine.
    pub(crate) fn outlay_telling(folder: &Path) -> Self {
        let mut command = Self::command(folder);
        command.env("OUTLAY_WEBHOOK_ALLOW", "127.0.0.1");
        Self::start(command, folder)
    }

    /// The same, as one of those whose processes stand in this file.
    pub(crate) fn outlay_within(members: &Path, folder: &Path) -> Self {
        let plain = Self::command(folder);
        let mut command = Command::new("sh");
        // The shell enters and then becomes the server, so that no moment of it is outside.
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(members);
        command.arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::start(command, folder)
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OUTLAY_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--open", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
        command
    }

    /// The handler that does nothing.
    pub(crate) fn empty() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--be-empty");
        Self::start(command, Path::new(""))
    }

    fn start(mut command: Command, folder: &Path) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let status = child.wait();
                panic!("the server does not listen: {status:?}");
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().trim_end_matches('/').parse().unwrap();
            }
        };
        // What it says later is read along, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, folder: folder.to_owned() }
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of all files in a folder.
pub(crate) fn file_size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map_while(Result::ok).filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}
