//! The real program as a process: how it is started, asked, injured and waited for.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use outlay_sim::history::Shows;
use outlay_sim::wire::{Ask, Reply};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Longer than any start or end takes where nothing is wrong, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client waits for an answer, where a mode does not say otherwise.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often something is asked that changes nothing when it is asked again.
const TRIES: usize = 3;

/// How the program is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The built program.
    pub(crate) path: PathBuf,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Where it says what it does, and how `strace` is told what to break.
    pub(crate) notes: PathBuf,
    /// What `strace` breaks; without it the program runs alone.
    pub(crate) inject: Option<Inject>,
    /// The file that holds the time, for a program that reads it from one.
    pub(crate) clock: Option<PathBuf>,
}

/// A system call that `strace` breaks.
#[derive(Debug, Clone)]
pub(crate) struct Inject {
    /// The calls, and what happens to which of them: `fdatasync:error=EIO:when=3`.
    pub(crate) what: String,
    /// Only calls on these files, by their names in the data folder; all if empty.
    pub(crate) files: &'static [&'static str],
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// When it was started.
    pub(crate) started: Instant,
}

/// Why there is no running program.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// It ended before it listened.
    Ended(ExitStatus),
    /// It could not be run, or hangs.
    Fault(String),
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "the program ended before it listened ({status})"),
            Self::Fault(fault) => f.write_str(fault),
        }
    }
}

impl Program {
    pub(crate) fn on(path: &Path, folder: &Path) -> Self {
        let (data, notes) = (folder.join("data"), folder.to_owned());
        Self { path: path.to_owned(), data, notes, inject: None, clock: None }
    }

    /// What `strace` said of the calls that it looked at.
    pub(crate) fn trace_file(&self) -> PathBuf {
        self.notes.join("strace.txt")
    }

    fn command(&self) -> Result<Command, String> {
        let mut command = match &self.inject {
            None => Command::new(&self.path),
            Some(inject) => {
                // As a grandchild of its own, so that our child is the program itself, with its own exit code.
                let mut command = Command::new("strace");
                command.args(["-D", "-f", "-qq", "-ttt", "-o"]).arg(self.trace_file());
                let calls = inject.what.split(':').next().unwrap_or_default();
                command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={}", inject.what)]);
                for file in inject.files {
                    command.arg("-P").arg(self.data.join(file));
                }
                command.arg("--").arg(&self.path);
                command
            }
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OUTLAY_")) {
            command.env_remove(name);
        }
        command.envs(self.clock.iter().map(|file| ("OUTLAY_TEST_CLOCK", file)));
        command.args(["serve", "--open", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        let log = self.log()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(command)
    }

    fn log(&self) -> Result<File, String> {
        let path = self.notes.join("program.log");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map_err(|error| format!("open {}: {error}", path.display()))
    }

    /// Starts it, and does not wait for more.
    fn spawn(&self) -> Result<Child, String> {
        let mut command = self.command()?;
        command.spawn().map_err(|error| format!("run {}: {error}", command.get_program().display()))
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(&self) -> Result<Running, NotStarted> {
        let started = Instant::now();
        let mut child = self.spawn().map_err(NotStarted::Fault)?;
        let stdout = child.stdout.take().ok_or_else(|| NotStarted::Fault("the program has no output".to_owned()))?;
        let mut running = Running { child, address: String::new(), started };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known; the pipe is drained all the same.
                let _ = sender.send(line);
            }
        });
        loop {
            match lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once("listening on ") {
                        address.trim().trim_end_matches('/').clone_into(&mut running.address);
                        return Ok(running);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(NotStarted::Fault("the program does not listen, and does not end".to_owned()));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(running.wait().map_or_else(NotStarted::Fault, NotStarted::Ended));
                }
            }
        }
    }

    /// Starts it, and kills it after a while, wherever it is by then.
    pub(crate) fn start_and_kill(&self, after: Duration) -> Result<(), String> {
        let mut child = self.spawn()?;
        thread::sleep(after);
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(|_| ()).map_err(|error| format!("kill the program: {error}"))
    }

    /// Runs `outlay verify` on the folder of the program, which may be running or not.
    pub(crate) fn verify(&self) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        command.arg("verify").arg("--data").arg(&self.data).stdin(Stdio::null());
        command.envs(self.clock.iter().map(|file| ("OUTLAY_TEST_CLOCK", file)));
        let output = command.output().map_err(|error| format!("run outlay verify: {error}"))?;
        let said = || String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("outlay verify ({}): {}", output.status, said())) }
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        let sent = rustix::process::kill_process(Pid::from_child(&self.child), signal);
        sent.map_err(|error| format!("signal the program: {error}"))
    }

    /// Kills it without a word, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(|error| format!("kill the program: {error}"))
    }

    /// Ends it as a service manager does.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, String> {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if began.elapsed() > PATIENCE => return Err("the program does not end".to_owned()),
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(format!("wait for the program: {error}")),
            }
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A way to ask it, with this much patience.
    pub(crate) fn http(&self, wait: Duration) -> Http {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(wait));
        Http { agent: config.build().new_agent(), base: self.address.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it was killed.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// A way to ask a running program.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    agent: ureq::Agent,
    base: String,
}

impl Http {
    /// One request; status 0 where no whole answer came.
    pub(crate) fn ask(&self, ask: &Ask) -> Reply {
        self.exchange(ask).unwrap_or(Reply { status: 0, body: Value::Null })
    }

    /// The same of what may be asked any number of times: anew where no answer came, since whoever stands still for a while, as
    /// on a machine that is busy with others, has no patience left when it goes on.
    pub(crate) fn ask_again(&self, ask: &Ask) -> Reply {
        let mut reply = self.ask(ask);
        for _ in 1..TRIES {
            if reply.status == 0 {
                reply = self.ask(ask);
            }
        }
        reply
    }

    fn exchange(&self, ask: &Ask) -> Result<Reply, ureq::Error> {
        let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
        let request = http::Request::builder()
            .method(ask.method)
            .uri(format!("{}{}", self.base, ask.path))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)?;
        let mut response = self.agent.run(request)?;
        let text = response.body_mut().with_config().limit(u64::from(u32::MAX)).read_to_string()?;
        Ok(Reply { status: response.status().as_u16(), body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

impl Shows for Http {
    fn get(&mut self, path: &str) -> Result<Value, String> {
        let reply = self.ask_again(&Ask { method: "GET", path: path.to_owned(), body: None });
        if reply.status == 200 { Ok(reply.body) } else { Err(format!("GET {path}: {} {}", reply.status, reply.body)) }
    }
}
