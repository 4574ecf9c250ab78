//! What is on this machine: the folder, the disk, the clock, the addresses, the files that were left there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use outlay_core::month::Timestamp;
use rustix::fs::Access;

use super::Findings;
use crate::client::SOCKET_NAME;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::verify::{LAST_VERIFY_NAME, LastVerify};
use crate::seal::{MASTER_KEY_FILE, read_key};
use crate::store::embedded::file_path;
use crate::web::format;

/// Free space from which nothing is said.
const SPACE_WELL: u64 = 1 << 30;
/// Free space below which a server takes less: what its reserve and its marks want.
const SPACE_SHORT: u64 = 192 << 20;
/// File systems that lie about locks or about what is on disk, by their numbers: NFS, SMB in three versions.
#[cfg(target_os = "linux")]
const NETWORKS: [i64; 4] = [0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42];
/// Seconds that a file's time may be ahead of the clock: some file systems round.
const AHEAD_SECONDS: i64 = 5;
/// Seconds after which a verify is old.
const VERIFY_OLD_SECONDS: i64 = 31 * 86_400;

pub(super) fn folder(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "folder";
    let folder = config.data.as_path();
    let shown = folder.display();
    let Ok(metadata) = std::fs::metadata(folder) else {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
            findings.ok(ABOUT, format!("{shown} is not there yet; the first start makes it"));
        } else {
            let fix = format!("make {shown}, owned by the user that the server runs as, or name another with --data");
            findings.fail(ABOUT, format!("{shown} is not there and cannot be made"), fix);
        }
        return;
    };
    if !metadata.is_dir() {
        findings.fail(ABOUT, format!("{shown} is no folder"), "name a folder with --data");
        return;
    }
    if rustix::fs::access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let fix = format!("run this as the user of the server, or give the folder to it: chown -R USER {shown}");
        findings.fail(ABOUT, format!("{shown} cannot be written to"), fix);
    } else if metadata.permissions().mode() & 0o077 != 0 {
        findings.warn(ABOUT, format!("{shown} is open to others on this machine"), format!("chmod 700 {shown}"));
    } else {
        findings.ok(ABOUT, format!("{shown} is there, and its owner's alone"));
    }
    #[cfg(target_os = "linux")]
    if let Ok(system) = rustix::fs::statfs(folder)
        && NETWORKS.contains(&system.f_type)
    {
        let fix = "put the data folder on a disk of this machine: locks and flushes over a network cannot be trusted";
        findings.fail(ABOUT, format!("{shown} is on a network file system"), fix);
    }
    space(folder, findings);
}

fn space(folder: &Path, findings: &mut Findings) {
    const ABOUT: &str = "disk";
    let Ok(space) = rustix::fs::statvfs(folder) else {
        findings.warn(ABOUT, "cannot be looked at", "see whether the file system is mounted soundly");
        return;
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let what = format!("{} free", format::bytes(free));
    let fix = "make room, or move the folder to a larger disk: short of space, intents are refused first, then facts";
    if free < SPACE_SHORT {
        findings.fail(ABOUT, what, fix);
    } else if free < SPACE_WELL {
        findings.warn(ABOUT, what, fix);
    } else if space.f_files > 0 && space.f_favail < 100 {
        findings.fail(ABOUT, "no more files can be made (inodes)", "delete files that nobody needs from that disk");
    } else {
        findings.ok(ABOUT, what);
    }
}

/// A clock that is wrong books facts into another month, and ends holds at another time.
pub(super) fn clock(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "clock";
    let fix = "have the clock set by NTP, and do not set it back: `timedatectl` says how it stands";
    let now = SystemClock::shared().wall();
    let file = file_path(&config.data);
    let newest = [file.clone(), file.with_extension("db-wal")].iter().filter_map(|file| modified(file)).max();
    if let Some(newest) = newest.filter(|newest| *newest > now.seconds() + AHEAD_SECONDS) {
        let behind = u64::try_from(newest - now.seconds()).unwrap_or(0);
        let what = format!("{} behind what the store wrote last", format::duration(behind.saturating_mul(1_000)));
        findings.fail(ABOUT, what, fix);
        return;
    }
    let left = u64::try_from(now.month().resets_at().seconds() - now.seconds()).unwrap_or(0);
    let what = format!("{now}; {} ends in {}", format::month(now.month()), format::duration(left * 1_000));
    let systemd = Path::new("/run/systemd/timesync");
    if systemd.is_dir() && !systemd.join("synchronized").exists() {
        findings.warn(ABOUT, format!("{what}; it was not compared with others since the start"), fix);
    } else {
        findings.ok(ABOUT, what);
    }
}

/// When a file was written last, in seconds since 1970.
fn modified(file: &Path) -> Option<i64> {
    let modified = std::fs::metadata(file).ok()?.modified().ok()?;
    i64::try_from(modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}

pub(super) fn addresses(config: &Config, is_running: bool, findings: &mut Findings) {
    const ABOUT: &str = "address";
    for address in [Some(config.listen), config.public_listen].into_iter().flatten() {
        match std::net::TcpListener::bind(address) {
            // Port 0 is any free one.
            Ok(_) if is_running && address.port() != 0 => {
                let fix = "give this command the flags and variables of the server";
                findings.warn(ABOUT, format!("the running server does not listen on {address}"), fix);
            }
            Ok(_) => findings.ok(ABOUT, format!("{address} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_running => {
                findings.ok(ABOUT, format!("{address} is in use, and a server runs"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let fix = "`ss -ltnp` says by whom; end it, or name another with --listen";
                findings.fail(ABOUT, format!("{address} is in use by another program"), fix);
            }
            Err(error) => {
                findings.fail(ABOUT, format!("{address} cannot be listened on: {error}"), "name another with --listen");
            }
        }
    }
}

pub(super) fn master_key(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "master key";
    if config.master_key.is_some() {
        findings.ok(ABOUT, "given by OUTLAY_MASTER_KEY");
        return;
    }
    if config.store.is_some() {
        let fix =
            "set OUTLAY_MASTER_KEY_FILE to the key that all nodes share; `openssl rand -base64 32` makes the first";
        findings.fail(ABOUT, "a node on PostgreSQL needs it, and it is not set", fix);
        return;
    }
    let file = config.data.join(MASTER_KEY_FILE);
    if !file.exists() {
        let is_new = !file_path(&config.data).exists();
        if is_new {
            findings.ok(ABOUT, "the first start makes one");
        } else {
            let fix = "put the copy back that you kept elsewhere; without it secrets in the store cannot be opened";
            findings.fail(ABOUT, format!("{} is gone", file.display()), fix);
        }
        return;
    }
    match read_key(&file) {
        Ok(_) => findings.ok(ABOUT, format!("{}; backups do not hold it: keep a copy elsewhere", file.display())),
        Err(error) => findings.fail(
            ABOUT,
            format!("failed to {error}"),
            format!("chmod 600 {}, or put its copy back", file.display()),
        ),
    }
}

pub(super) fn last_verify(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "verify";
    let fix = "run `outlay verify`, from time to time";
    let text = std::fs::read(config.data.join(LAST_VERIFY_NAME));
    let last = text.ok().and_then(|text| serde_json::from_slice::<LastVerify>(&text).ok());
    let last = last.and_then(|last| Some((Timestamp::parse(&last.at).ok()?, last.findings)));
    let Some((at, found)) = last else {
        if file_path(&config.data).exists() {
            findings.warn(ABOUT, "the operations were never added up again", fix);
        }
        return;
    };
    if found > 0 {
        let fix = "run `outlay verify` to see them; a backup from before them is the way back";
        findings.fail(ABOUT, format!("found {found} faults at {at}"), fix);
    } else if SystemClock::shared().wall().seconds() - at.seconds() > VERIFY_OLD_SECONDS {
        findings.warn(ABOUT, format!("clean at {at}, which is long ago"), fix);
    } else {
        findings.ok(ABOUT, format!("clean at {at}"));
    }
}

/// Whether somebody answers at the folder's socket.
pub(super) async fn socket_answers(config: &Config) -> bool {
    tokio::net::UnixStream::connect(config.data.join(SOCKET_NAME)).await.is_ok()
}
