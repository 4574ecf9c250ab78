//! A disk that is full of a sudden, under load: whatever is refused left nothing, what was acknowledged is there, reads and
//! `/healthz` go on, and with the space everything comes back by itself. And a disk that is too small from the start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use outlay_sim::history::Shows as _;
use outlay_sim::wire::Ask;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rustix::fs::FallocateFlags;
use serde_json::json;

use super::cuts::{Mounted, ext4};
use super::load::{self, Manner, USERS};
use super::program::{ANSWER_WAIT, Http, NotStarted, Program, Running};
use super::run::{
    Basis, Failure, is_readable, proves, readiness, remove, settles, start, under_load, wait_for_answers,
};
use super::told::Told;

/// So much that the store looks seldom how much is left, and so meets the full disk by itself.
const MEBIBYTES: u64 = 2_048;
/// Below every mark.
const SMALL_MEBIBYTES: u64 = 8;
/// What takes the space; beside the data folder, on the same disk.
const BALLAST: &str = "ballast";
/// How soon all has come back when there is space again.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Fills the disk so many times.
///
/// # Errors
/// Also where loop devices cannot be had.
pub(crate) fn run(basis: &Basis, fills: usize) -> Result<String, Failure> {
    small(basis)?;
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let folder = basis.folder_for("full")?;
    let (mounted, on) = disk(&folder, MEBIBYTES)?;
    let program = Program { data: on.join("data"), ..Program::on(&basis.program, &folder) };
    let told = Told::default();
    let mut running = start(&program)?;
    load::introduce(&running.http(ANSWER_WAIT))?;
    let (mut refused, mut ended, mut killed, mut unknown, mut did_not_start) = (0, 0, 0, 0, 0);
    for fill in 0..fills {
        let name = format!("fill_{fill}");
        let http = running.http(ANSWER_WAIT);
        let manner = Manner { goes_on: true, pause: Duration::from_millis(1), ..Manner::default() };
        let leave = [0, 4_096, 65_536, 1 << 20][random.random_range(0..4)];
        let enough = random.random_range(10..150);
        let is_killed = random.random_bool(0.3);
        under_load(&http, &told, manner, (random.random(), &name), |shared| {
            wait_for_answers(shared, enough, Duration::from_secs(20));
            take_all_but(&on, leave)?;
            thread::sleep(Duration::from_millis(random.random_range(50..400)));
            Ok(())
        })
        .map_err(|problem| format!("{name}: {problem}"))?;
        if running.is_alive() {
            refused += usize::from(readiness(&http) == 507);
        }
        // A COMMIT that finds the disk full is one whose outcome is unknown: the process ends, and the next start carries on.
        let has_ended = !running.is_alive();
        if has_ended {
            ended += 1;
            let status = running.wait()?;
            if status.code() != Some(1) {
                return Err(format!("{name}: on a full disk the program ended with {status}").into());
            }
        } else {
            is_readable(&mut running.http(ANSWER_WAIT))
                .map_err(|problem| format!("{name}, on a full disk: {problem}"))?;
            is_alive(&http)?;
        }
        if has_ended || is_killed {
            killed += usize::from(!has_ended);
            running.kill()?;
            match program.start() {
                Ok(again) => running = again,
                // A store that cannot write its log cannot start; it must say so and end.
                Err(NotStarted::Ended(status)) if status.code() == Some(1) => {
                    did_not_start += 1;
                    give_back(&on)?;
                    running = start(&program)?;
                }
                Err(fault) => return Err(format!("{name}: {fault}").into()),
            }
        }
        give_back(&on)?;
        comes_back(&running)?;
        unknown += settles(&running, &told, u64::MAX).map_err(|problem| format!("{name}: {problem}"))?;
    }
    let status = running.stop()?;
    if !status.success() {
        return Err(format!("at the end the program ended with {status}").into());
    }
    program.verify()?;
    mounted.unmount()?;
    remove(&folder);
    let done = told.so_far().history.acknowledged();
    Ok(format!(
        "{fills} times the disk was full of a sudden ({refused} times the server said so, {ended} times a COMMIT met it and the \
         process ended, {killed} kills on a full disk; {did_not_start} times it could not start before there was space); {done} operations acknowledged, none lost; \
         {unknown} requests unknown, asked again; a disk of {SMALL_MEBIBYTES} MiB refuses all and can be read"
    ))
}

/// A disk below every mark: a new store does not begin there, and says why. One that was made elsewhere can be read, takes
/// nothing, and ends well.
fn small(basis: &Basis) -> Result<(), Failure> {
    let folder = basis.folder_for("small")?;
    let (mounted, on) = disk(&folder, SMALL_MEBIBYTES)?;
    let program = Program { data: on.join("new"), ..Program::on(&basis.program, &folder) };
    let said = || fs::read_to_string(folder.join("program.log")).unwrap_or_default();
    match program.start() {
        Err(NotStarted::Ended(status)) if !status.success() && said().contains("the disk is full") => {}
        other => return Err(format!("a new store on a small disk: {:?}, {}", other.map(|_| ()), said()).into()),
    }
    let elsewhere = Program::on(&basis.program, &folder);
    let mut running = start(&elsewhere)?;
    load::introduce(&running.http(ANSWER_WAIT))?;
    running.stop()?;
    let program = Program { data: on.join("made"), ..elsewhere.clone() };
    let copied = fs::create_dir_all(&program.data).and_then(|()| {
        ["outlay.db", "master.key"]
            .iter()
            .try_for_each(|name| fs::copy(elsewhere.data.join(name), program.data.join(name)).map(|_| ()))
    });
    copied.map_err(|error| format!("copy the store: {error}"))?;
    let mut running = start(&program)?;
    refuses_all(&running.http(ANSWER_WAIT))?;
    let status = running.stop()?;
    if !status.success() {
        return Err(format!("on a small disk the program ended with {status}").into());
    }
    mounted.unmount()?;
    remove(&folder);
    Ok(())
}

fn refuses_all(http: &Http) -> Result<(), String> {
    let operation = json!({"operationId": "one", "userId": USERS[0], "feature": "torture", "cost": 1});
    let opening = json!({"sessionId": "one", "feature": "torture", "estimate": {"cost": 1}});
    let sessions = format!("/v1/users/{}/sessions", USERS[0]);
    for (path, body) in [("/v1/usage", operation), (sessions.as_str(), opening)] {
        let reply = http.ask(&Ask { method: "POST", path: path.to_owned(), body: Some(body) });
        if !matches!(reply.status, 503 | 507) {
            return Err(format!("on a small disk {path} is answered {} {}", reply.status, reply.body));
        }
    }
    is_readable(&mut http.clone())?;
    is_alive(http)?;
    proves(http)
}

fn disk(folder: &Path, mebibytes: u64) -> Result<(Mounted, PathBuf), Failure> {
    let (image, on) = (folder.join("disk"), folder.join("on"));
    let made = fs::create_dir_all(&on).and_then(|()| File::create(&image)?.set_len(mebibytes << 20));
    made.map_err(|error| format!("make {}: {error}", image.display()))?;
    ext4(&image)?;
    Ok((Mounted::loop_device(&image, &on)?, on))
}

/// Takes all the space but so many bytes.
fn take_all_but(on: &Path, leave: u64) -> Result<(), String> {
    let take = || -> std::io::Result<()> {
        let file = File::create(on.join(BALLAST))?;
        let mut length = 0;
        // Each try takes what then is free; the program writes meanwhile, and metadata takes some too.
        let mut step = 1 << 30;
        while step >= 4_096 {
            let space = rustix::fs::statvfs(on)?;
            let free = space.f_bavail.saturating_mul(space.f_frsize).saturating_sub(leave);
            let next = step.min(free);
            if next < 4_096 {
                break;
            }
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), length, next) {
                Ok(()) => length += next,
                Err(rustix::io::Errno::NOSPC) => step /= 4,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    take().map_err(|error| format!("fill the disk: {error}"))
}

fn give_back(on: &Path) -> Result<(), String> {
    match fs::remove_file(on.join(BALLAST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("free the disk: {error}")),
        _ => Ok(()),
    }
}

/// Everything is taken again soon.
fn comes_back(running: &Running) -> Result<(), String> {
    let http = running.http(ANSWER_WAIT);
    let began = Instant::now();
    while readiness(&http) != 200 {
        if began.elapsed() > BACK_WITHIN {
            return Err("there is space again, and it is not ready".to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn is_alive(http: &Http) -> Result<(), String> {
    let reply = http.ask(&Ask { method: "GET", path: "/healthz".to_owned(), body: None });
    if reply.status == 200 {
        http.clone().get("/v1/overview").map(|_| ())
    } else {
        Err(format!("/healthz: {}", reply.status))
    }
}
