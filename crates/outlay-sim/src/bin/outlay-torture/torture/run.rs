//! What every mode does: start, load, look at all of it, ask again for what is unknown.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use outlay_sim::history::Shows as _;
use outlay_sim::wire::Ask;

use super::load::{self, Client, Ended, Manner, Shared};
use super::program::{ANSWER_WAIT, Http, Program, Running};
use super::told::Told;

/// Clients that ask at once.
pub(crate) const CLIENTS: usize = 6;

/// What every mode is told.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    /// The built program.
    pub(crate) program: PathBuf,
    /// Where the run's folders are made.
    pub(crate) folder: PathBuf,
    /// What the run follows.
    pub(crate) seed: u64,
}

/// Why a run ended badly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is not as it must be; the folder shows it.
    Found(String),
    /// This machine cannot do it: what is missing.
    Missing(String),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Found(problem)
    }
}

impl Basis {
    /// A new folder, by the name of what is done in it.
    pub(crate) fn folder_for(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
        Ok(path)
    }
}

/// Removes the folder of what went well.
pub(crate) fn remove(folder: &Path) {
    // Nobody needs it any more; where it stays, it does no harm.
    let _ = std::fs::remove_dir_all(folder);
}

/// Starts the program, where nothing should keep it from starting.
pub(crate) fn start(program: &Program) -> Result<Running, String> {
    program.start().map_err(|error| error.to_string())
}

/// Lets clients ask, until `until` says that it is enough; then `injure` does what it does to the program, and all clients end.
///
/// # Errors
/// What a client was told that cannot be, or what `injure` failed at.
pub(crate) fn under_load<T>(
    http: &Http,
    told: &Told,
    manner: Manner,
    (seed, name): (u64, &str),
    injure: impl FnOnce(&Shared<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let shared = Shared::new(told, manner);
    let problems = Mutex::new(Vec::new());
    let injured = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (shared, problems) = (&shared, &problems);
            let client =
                Client::new(http.clone(), shared, seed.wrapping_add(client as u64), format!("{name}_{client}"));
            scope.spawn(move || {
                if let Err(problem) = client.run()
                    && let Ok(mut problems) = problems.lock()
                {
                    problems.push(problem);
                }
            });
        }
        let injured = injure(&shared);
        shared.over.store(true, Ordering::Relaxed);
        injured
    });
    let problems = problems.into_inner().unwrap_or_default();
    if problems.is_empty() { injured } else { Err(problems.join("\n")) }
}

/// Waits until clients have had so many answers, or for so long.
pub(crate) fn wait_for_answers(shared: &Shared<'_>, count: usize, at_most: Duration) {
    let began = Instant::now();
    while shared.answers.load(Ordering::Relaxed) < count && began.elapsed() < at_most {
        thread::sleep(Duration::from_micros(200));
    }
}

/// Looks at all that was known before a count, asks again for what is unknown, and looks again. Gives how many requests were
/// asked again; what they are answered is kept only where all was looked at (`u64::MAX`), else it is of another life.
///
/// # Errors
/// What is not as it must be.
pub(crate) fn settles(running: &Running, told: &Told, before: u64) -> Result<usize, String> {
    let mut http = running.http(ANSWER_WAIT);
    let as_of = told.as_of(before);
    as_of.history.holds(&mut http).map_err(|problem| format!("after the start: {problem}"))?;
    proves(&http)?;
    if as_of.unknown.is_empty() {
        return Ok(0);
    }
    // A history as of a moment goes on with what is asked from here on.
    let mut history = as_of.history;
    let again = Told::default();
    for request in &as_of.unknown {
        let ask = told.ask(*request);
        let number = again.request((*ask).clone());
        let reply = retried(&http, &again, number)?;
        if before == u64::MAX {
            told.answered(*request, reply.clone());
        }
        super::told::note(&mut history, &ask, super::told::now(), &reply);
    }
    history.holds(&mut http).map_err(|problem| format!("after asking again: {problem}"))?;
    proves(&http)?;
    Ok(as_of.unknown.len())
}

fn retried(http: &Http, told: &Told, request: usize) -> Result<outlay_sim::wire::Reply, String> {
    let began = Instant::now();
    loop {
        match load::send(http, told, request) {
            // That a session is over, or does not fit, may be so by now.
            Ok(reply) if reply.is_acknowledged() || may_be_refused(&told.ask(request), reply.status) => {
                return Ok(reply);
            }
            Ok(reply) => {
                let ask = told.ask(request);
                return Err(format!("{ask:?} was unknown, and again is answered {} {}", reply.status, reply.body));
            }
            Err(_) if began.elapsed() < Duration::from_secs(10) => thread::sleep(Duration::from_millis(10)),
            Err(Ended::Wrong(problem)) => return Err(problem),
            Err(Ended::Gone) => return Err(format!("{:?} stays unknown", told.ask(request))),
        }
    }
}

/// Facts are taken always; intents may not fit, and what they are about may be over, or may never have come to be.
fn may_be_refused(ask: &Ask, status: u16) -> bool {
    (ask.path.ends_with("/sessions") && status == 402) || (ask.path.ends_with("/extend") && matches!(status, 402 | 409))
}

/// The server's own proof of its counters.
pub(crate) fn proves(http: &Http) -> Result<(), String> {
    let reply = http.ask_again(&Ask { method: "POST", path: "/v1/verify".to_owned(), body: None });
    if reply.status == 200 && reply.body["ok"] == true {
        return Ok(());
    }
    Err(format!("verify: {} {}", reply.status, reply.body))
}

/// Whether it is ready, as it says itself: the status of `/readyz`.
pub(crate) fn readiness(http: &Http) -> u16 {
    http.ask(&Ask { method: "GET", path: "/readyz".to_owned(), body: None }).status
}

/// What `/v1/users/{user}/budget` shows, which must be readable.
pub(crate) fn is_readable(http: &mut Http) -> Result<(), String> {
    load::USERS.iter().try_for_each(|user| http.get(&format!("/v1/users/{user}/budget")).map(|_| ()))
}
