//! Hostile input from the description of the API: schemathesis makes requests that keep to it and requests that do not, and sees
//! that each is answered as it says, once for each kind of caller.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::packages;
use crate::run::{self, Failed, Step};

/// The version that the figures of the documentation were made with; another one makes other requests.
const VERSION: &str = "4.32.5";
/// What all requests follow from.
const SEED: &str = "1";
/// Random cases of each route and caller, where nothing else is said; those at the edges of the description come on top.
pub(crate) const EXAMPLES: u32 = 5;
/// The user whose token is one of the callers: the one in the description's examples.
const USER: &str = "bgtfrdsZ";
/// For how long a server may start.
const START_MAX: Duration = Duration::from_secs(20);

/// Who asks, by the command that makes what they show; nothing where they show nothing.
const CALLERS: [(&str, &[&str]); 5] = [
    ("nobody", &[]),
    ("user token", &["tokens", "create", USER, "--reads", "sessions", "--reads", "usage", "--json"]),
    ("viewer", &["keys", "create", "--role", "viewer", "--json"]),
    ("app", &["keys", "create", "--role", "app", "--json"]),
    ("admin", &["keys", "create", "--role", "admin", "--json"]),
];

/// What stands in the store before anybody asks.
const SEEDED: [&[&str]; 4] = [
    &["record", "--user", USER, "--feature", "scan", "--cost", "0.002", "--run", "--operation-id", "usage_1"],
    &["record", "--user", USER, "--feature", "scan", "--cost", "0.5", "--session", "scan_1", "--step-label", "read"],
    &["record", "--user", "left_us", "--feature", "scan", "--cost", "0.1"],
    &["record", "--user", "née/ñandú", "--feature", "voix", "--cost", "2.5", "--type", "api"],
];

/// Asks the program of the debug build as each caller.
pub(crate) fn run(examples: u32) -> Result<(), Failed> {
    let tool = install()?;
    println!("\nxtask: schemathesis {VERSION}, seed {SEED}, {examples} random cases of each route and caller");
    let mut failed = Vec::new();
    for (caller, credential) in CALLERS {
        println!("\nxtask: as {caller}");
        let server = Server::start()?;
        for arguments in SEEDED {
            server.ask(arguments)?;
        }
        let shown = match credential {
            [] => None,
            arguments => Some(secret_of(&server.ask(arguments)?)?),
        };
        if let Err(Failed(what)) = server.is_asked(&tool, shown.as_deref(), examples) {
            failed.push(format!("{caller}: {what}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failed(failed.join("; "))) }
}

/// Schemathesis in an environment of its own.
fn install() -> Result<PathBuf, Failed> {
    let folder = run::root().join("target/schemathesis");
    let tool = folder.join("bin/st");
    let version = run::output_of(Command::new(&tool).arg("--version")).unwrap_or_default();
    if version.ends_with(VERSION) {
        return Ok(tool);
    }
    if !run::succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
        packages::apt(&["python3-venv"], "python3 cannot make environments, in which schemathesis is installed")?;
    }
    Step::program("python3".as_ref()).arguments(&["-m", "venv", "--clear", "target/schemathesis"]).run()?;
    let package = format!("schemathesis=={VERSION}");
    Step::program(&folder.join("bin/pip")).arguments(&["install", "--quiet", &package]).run()?;
    Ok(tool)
}

/// The key or token in what the command said.
fn secret_of(json: &str) -> Result<String, Failed> {
    let value = ["\"key\"", "\"token\""].iter().find_map(|name| json.split_once(name)?.1.split('"').nth(1));
    value.map(str::to_owned).ok_or_else(|| Failed(format!("a key or a token in {json}")))
}

/// A server on a folder of its own, which both end with this.
struct Server {
    process: Child,
    program: PathBuf,
    data: PathBuf,
    address: String,
}

impl Server {
    fn start() -> Result<Self, Failed> {
        let told = |what: &str, error: std::io::Error| Failed(format!("{what}: {error}"));
        let program = run::root().join("target/debug/outlay");
        let data = std::env::temp_dir().join(format!("outlay-schemathesis-{}", std::process::id()));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| told("find a free port", error))?.to_string();
        fs::create_dir_all(&data).map_err(|error| told("make a folder for the store", error))?;
        let log = fs::File::create(data.join("log")).map_err(|error| told("make the server's log", error))?;
        let process = command(&program, &data)
            .args(["serve", "--listen", &address])
            .env("OUTLAY_MASTER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| told("start target/debug/outlay", error))?;
        let server = Self { process, program, data, address };
        let began = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            if began.elapsed() > START_MAX {
                let log = fs::read_to_string(server.data.join("log")).unwrap_or_default();
                return Err(Failed(format!("the server to start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Runs a command on its folder, and gives what that says.
    fn ask(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = command(&self.program, &self.data).args(arguments).output();
        let output = output.map_err(|error| Failed(format!("outlay {}: {error}", arguments.join(" "))))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failed(format!("outlay {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))))
    }

    fn is_asked(&self, tool: &Path, shown: Option<&str>, examples: u32) -> Result<(), Failed> {
        let mut step = Step::program(tool)
            .arguments(&["--config-file", "xtask/schemathesis/schemathesis.toml"])
            .arguments(&["run", &format!("http://{}/openapi.json", self.address)])
            .arguments(&["--seed", SEED, "--max-examples", &examples.to_string(), "--warnings", "off"])
            .arguments(&["--phases", "examples,coverage,fuzzing"])
            .variable("PYTHONPATH", "xtask/schemathesis");
        if let Some(shown) = shown {
            step = step.arguments(&["--header", &format!("Authorization: Bearer {shown}")]);
        }
        step.run()
    }
}

/// The program on a folder, without the settings of whoever runs this.
fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTLAY_") {
            command.env_remove(name);
        }
    }
    command.arg("--data").arg(data).current_dir(data).stdin(Stdio::null());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and its folder may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}
