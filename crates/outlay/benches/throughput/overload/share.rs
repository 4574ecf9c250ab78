//! A part of a core for one program: a control group with a quota, as a service manager's `CPUQuota` makes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How often a quota is given anew. Short, so that having used it up is not itself a pause that clients notice.
const PERIOD_MICROS: u32 = 10_000;
const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "outlay-overload-";

/// A control group, until it is dropped. What still runs in it then is killed.
pub(super) struct Share {
    folder: PathBuf,
}

impl Share {
    /// A group whose programs have this part of a core together.
    pub(super) fn new(cores: f64) -> Result<Self, String> {
        let is_second = Path::new(ROOT).join("cgroup.controllers").exists();
        let parent = if is_second { PathBuf::from(ROOT) } else { Path::new(ROOT).join("cpu") };
        remove_left_over(&parent);
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        let why = |what: &str, error: &std::io::Error| {
            format!(
                "failed to {what} {}: {error}. A part of a core needs a control group with the `cpu` controller, and the \
                 right to make one: run it as root on Linux",
                folder.display()
            )
        };
        std::fs::create_dir(&folder).map_err(|error| why("make", &error))?;
        let share = Self { folder: folder.clone() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a few cores")]
        let quota = (f64::from(PERIOD_MICROS) * cores) as u32;
        let written = if is_second {
            share.write("cpu.max", &format!("{quota} {PERIOD_MICROS}"))
        } else {
            let period = share.write("cpu.cfs_period_us", &PERIOD_MICROS.to_string());
            period.and_then(|()| share.write("cpu.cfs_quota_us", &quota.to_string()))
        };
        written.map_err(|error| why("set the quota of", &error))?;
        Ok(share)
    }

    /// Where a process says that it belongs to it.
    pub(super) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    fn write(&self, name: &str, value: &str) -> std::io::Result<()> {
        std::fs::write(self.folder.join(name), value)
    }

    /// Has a measurement that is broken off leave neither the server, nor the group, nor its data.
    pub(super) fn clean_up_when_stopped(&self, data: &Path) {
        let (folder, data) = (self.folder.clone(), data.to_owned());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                tokio::select! {
                    _ = ended.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            });
            empty_and_remove(&folder);
            let _ = std::fs::remove_dir_all(data);
            std::process::exit(130);
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        empty_and_remove(&self.folder);
    }
}

fn members(folder: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
}

fn empty_and_remove(folder: &Path) {
    for _ in 0..200 {
        for process in members(folder) {
            // One that has just ended is what is wanted.
            let _ = kill_process(process, Signal::KILL);
        }
        // A group is left by a process only a moment after that has ended.
        if std::fs::remove_dir(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{} could not be removed", folder.display());
}

/// Groups of measurements that were killed; one in use is not empty, and stays.
fn remove_left_over(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
