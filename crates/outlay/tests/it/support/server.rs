//! The server as a child process on a folder of its own, and other runs of the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::asks::Caller;
use super::exact::Json;
use super::wire::{Connection, Reply};
use super::{AtEnd, Database, PATIENCE, until};

/// The admin key of a server that asks for keys.
pub(crate) const ADMIN: &str = "the-admin-key-of-a-test-0123456789abcdef";

/// The master key of nodes.
pub(crate) const MASTER: &str = "dGhlIG1hc3RlciBrZXkgb2YgdGhlIHRlc3RzIG5vZGU=";

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(super) keyed: bool,
    file_limit_is_an_error: bool,
    disk_mebibytes: Option<u32>,
    /// What a service manager would keep while the server restarts.
    kept: Option<Arc<TcpListener>>,
}

impl Setup {
    /// Anybody may do anything.
    pub(crate) fn open() -> Setup {
        Setup { arguments: vec!["--open".to_owned()], ..Setup::default() }
    }

    /// Keys are asked for; [`ADMIN`] is one.
    pub(crate) fn keyed() -> Setup {
        Setup { keyed: true, ..Setup::default() }.variable("OUTLAY_ADMIN_KEY", ADMIN)
    }

    pub(crate) fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A write beyond the process's file size limit fails, instead of killing the process.
    pub(crate) fn file_limit_is_an_error(mut self) -> Setup {
        self.file_limit_is_an_error = true;
        self
    }

    /// The test keeps the socket and hands it to the server, as systemd does (`LISTEN_FDS`).
    pub(crate) fn kept_socket(mut self) -> Setup {
        self.kept = Some(Arc::new(TcpListener::bind("127.0.0.1:0").unwrap()));
        self
    }

    /// The data folder is a file system of its own, of this size. Only root may make one: a test that asks for it fails
    /// where it is not run as root.
    pub(crate) fn disk_of(mut self, mebibytes: u32) -> Setup {
        self.disk_mebibytes = Some(mebibytes);
        self
    }

    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let home = tempfile::Builder::new().prefix("outlay-it-").tempdir().unwrap();
        let disk = self.disk_mebibytes.map(|mebibytes| Disk::mount(&home.path().join("data"), mebibytes));
        let running = Running::start(home.path(), &self);
        Server { running: Some(running), setup: self, _disk: disk, home }
    }

    /// A node on a database, with the master key that all of a test's nodes share.
    pub(crate) fn on(self, database: &Database) -> Setup {
        self.on_store(&database.url())
    }

    /// The same on what an address leads to.
    pub(crate) fn on_store(self, url: &str) -> Setup {
        self.argument("--store").argument(url).variable("OUTLAY_MASTER_KEY", MASTER)
    }

    fn command(&self, home: &Path) -> Command {
        let program = env!("CARGO_BIN_EXE_outlay");
        let mut command = if self.kept.is_some() {
            // The socket comes as standard input, since only the shell can give it the number that it must have.
            let mut shell = Command::new("sh");
            let take = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
            shell.args(["-c", take, program]);
            shell
        } else if self.file_limit_is_an_error {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", program]);
            shell
        } else {
            Command::new(program)
        };
        clean(&mut command, home);
        command.arg("serve").arg("--data").arg(home.join("data")).args(["--listen", "127.0.0.1:0"]);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        let kept = self.kept.as_ref().map(|kept| Stdio::from(OwnedFd::from(kept.try_clone().unwrap())));
        command.stdin(kept.unwrap_or(Stdio::null())).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Takes the caller's own settings out of a command's environment, and puts the test's clock in.
fn clean(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTLAY_") {
            command.env_remove(name);
        }
    }
    let clock = home.join("clock");
    if clock.exists() {
        command.env("OUTLAY_TEST_CLOCK", clock);
    }
}

/// A small file system in memory, as real as any other: it has its size, and a full one answers `ENOSPC`.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    #[track_caller]
    fn mount(at: &Path, mebibytes: u32) -> Disk {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={mebibytes}m");
        let ran = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "outlay-it"]).arg(at).output();
        let ran = ran.unwrap_or_else(|error| panic!("this test needs the program `mount`: {error}"));
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success(),
            "this test fills a small file system of its own, and so must be run as root, with the right to mount: {said}"
        );
        Disk(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed just now may have files open for another moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The child process, while there is one.
struct Running {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    idle: Mutex<Vec<Connection>>,
}

impl Running {
    #[track_caller]
    fn start(home: &Path, setup: &Setup) -> Running {
        let mut child = setup.command(home).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let stdout = child.stdout.take().unwrap();
        let (line_sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known; the pipe is drained all the same.
                let _ = line_sender.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                let _ = child.kill();
                let status = child.wait();
                panic!("the server does not listen ({status:?}):\n{}", log.lock().unwrap());
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.trim().trim_end_matches('/').parse().unwrap();
                return Running { child, address, log, idle: Mutex::default() };
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("what the server said:\n{}", self.log.lock().unwrap());
        }
    }
}

/// A server and its folder. Dropping it kills the one and removes the other.
pub(crate) struct Server {
    // Dropped first: the folder is removed when nobody writes to it any more.
    running: Option<Running>,
    pub(super) setup: Setup,
    _disk: Option<Disk>,
    home: tempfile::TempDir,
}

/// A request that was cut off before its answer: what it asked for may be done or not.
#[derive(Debug)]
pub(crate) struct Unknown;

impl Server {
    #[track_caller]
    pub(crate) fn open() -> Server {
        Setup::open().start()
    }

    #[track_caller]
    pub(crate) fn keyed() -> Server {
        Setup::keyed().start()
    }

    /// An open server whose clock stands at `now` until [`Server::clock`] moves it.
    #[cfg(feature = "test-clock")]
    #[track_caller]
    pub(crate) fn at(now: &str) -> Server {
        Server::at_with(now, Setup::open())
    }

    #[cfg(feature = "test-clock")]
    #[track_caller]
    pub(crate) fn at_with(now: &str, setup: Setup) -> Server {
        let home = tempfile::Builder::new().prefix("outlay-it-").tempdir().unwrap();
        std::fs::write(home.path().join("clock"), now).unwrap();
        let running = Running::start(home.path(), &setup);
        Server { home, setup, running: Some(running), _disk: None }
    }

    /// Sets the clock; the file is replaced at once, so that nobody reads half a time.
    #[cfg(feature = "test-clock")]
    pub(crate) fn clock(&self, now: &str) {
        let (next, clock) = (self.home.path().join("clock.next"), self.home.path().join("clock"));
        std::fs::write(&next, now).unwrap();
        std::fs::rename(next, clock).unwrap();
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A place beside the data folder for the test's own files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// What the running process has logged so far.
    pub(crate) fn log(&self) -> String {
        self.running().log.lock().unwrap().clone()
    }

    pub(crate) fn process_id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.running().child)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server was stopped")
    }

    /// Kills the process as a power cut would, without a word.
    pub(crate) fn kill9(&mut self) {
        let mut running = self.running.take().expect("the server was stopped");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Kills, when what this gives is dropped, with the requests of other threads in flight. Also when a test fails
    /// meanwhile, so that those threads end. [`Server::start_again`] starts anew.
    pub(crate) fn killed_at_end(&self) -> impl Drop {
        AtEnd(|| self.running().signal(rustix::process::Signal::KILL))
    }

    /// Ends the process as a service manager does, and waits for it.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server was stopped");
        running.signal(rustix::process::Signal::TERM);
        let mut status = None;
        until("the server ends", || {
            status = running.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Has the settings read anew, as a service manager does.
    pub(crate) fn hang_up(&self) {
        self.running().signal(rustix::process::Signal::HUP);
    }

    /// Waits for a process that ends by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server was stopped");
        let mut status = None;
        until("the server ends by itself", || {
            status = running.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Starts on the same folder, after whatever ended the process before.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.running = None;
        self.running = Some(Running::start(self.home.path(), &self.setup));
    }

    /// A kill -9 and a start on the same folder.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill9();
        self.start_again();
    }

    /// The same server, asked with this key or token; `""` asks without any.
    pub(crate) fn with_key(&self, key: &str) -> Caller<'_> {
        let authorization = (!key.is_empty()).then(|| format!("Bearer {key}"));
        Caller { server: self, address: self.address(), authorization }
    }

    /// One whole exchange; connections to the server's first address are kept and used again.
    pub(super) fn exchange(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, Unknown> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            write!(request, "host: {address}\r\n").unwrap();
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() || method != "GET" {
            write!(request, "content-length: {}\r\n", body.len()).unwrap();
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);

        let pooled = address == self.address();
        let idle = if pooled { self.running().idle.lock().unwrap().pop() } else { None };
        let mut connection = match idle.filter(Connection::is_alive) {
            Some(connection) => connection,
            None => Connection::open(address).map_err(|_| Unknown)?,
        };
        let (mut reply, alive) = connection.exchange(&request).map_err(|_| Unknown)?;
        if alive && pooled {
            self.running().idle.lock().unwrap().push(connection);
        }
        reply.asked = format!("{method} {}", path.chars().take(300).collect::<String>());
        Ok(reply)
    }

    /// Runs the program on this server's data folder.
    pub(crate) fn outlay(&self, arguments: &[&str]) -> Ran {
        self.outlay_with(arguments, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn outlay_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
        clean(&mut command, self.home.path());
        command.envs(environment.iter().copied());
        command.args(arguments).arg("--data").arg(self.data());
        ran(command)
    }

    /// Starts the program on this server's data folder, and gives the lines that it prints as it prints them; it is
    /// killed when they are dropped.
    pub(crate) fn outlay_lines(&self, arguments: &[&str]) -> Lines {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
        clean(&mut command, self.home.path());
        command.args(arguments).arg("--data").arg(self.data());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Lines { child, lines }
    }

    /// `outlay verify` finds nothing, beside the server or on the folder of a stopped one.
    #[track_caller]
    pub(crate) fn verifies(&self) {
        let ran = self.outlay(&["verify"]);
        assert!(ran.code == 0, "verify found something: {ran:?}");
    }
}

/// The lines of a program that runs on.
#[derive(Debug)]
pub(crate) struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Lines {
    /// The next line, as JSON.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Json {
        let line = self.lines.next().expect("it ended").unwrap();
        Json::parse(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert!(self.code == code, "exit code {code} expected: {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        Json::parse(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// Runs the program as the arguments stand, without a data folder.
pub(crate) fn outlay(arguments: &[&str]) -> Ran {
    outlay_with_environment(arguments, &[])
}

/// As [`outlay`], with variables in its environment.
pub(crate) fn outlay_with_environment(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
    clean(&mut command, Path::new("/nonexistent"));
    command.args(arguments).envs(environment.iter().copied());
    ran(command)
}

fn ran(mut command: Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = read_along(child.stdout.take().unwrap());
    let err = read_along(child.stderr.take().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        // A server that should have refused to start would run for ever.
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ran { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Reads all of a pipe in a thread of its own, so that no full pipe stops the writer.
fn read_along(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
