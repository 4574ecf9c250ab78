//! Power cuts: the program on ext4 on a disk that keeps every write and flush, and then that disk as cuts would have left it.
//!
//! A cut keeps all that was flushed; of what was written since, all, nothing, any writes, or any sectors. The file system
//! replays its journal, the program starts, and must show what had been acknowledged by then.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::disk::{Cut, KeepingDisk, Kept, Rewound};
use super::kills::needs_strace;
use super::load::{self, Manner};
use super::program::{ANSWER_WAIT, Inject, Program};
use super::run::{Basis, Failure, remove, settles, start, under_load, wait_for_answers};
use super::told::{Ticks, Told};

/// Room for the store, and beside it for the reserve and the marks below which less is taken.
const DISK_MEBIBYTES: usize = 256;
/// So many cuts of one recording, which all are of other moments.
const CUTS_PER_RECORDING: usize = 100;

#[derive(Debug, Default)]
struct Counts {
    cuts: usize,
    recordings: usize,
    /// Cuts by what became of the unflushed writes.
    of: [usize; 4],
    with_unflushed: usize,
    writes: usize,
    flushes: usize,
    acknowledged: usize,
    asked_again: usize,
    /// Cuts before the store was there.
    before_first: usize,
}

/// Records disks, and cuts their power so many times; where the program's syncs are not to be done, something must be found.
///
/// # Errors
/// Also where loop devices or FUSE cannot be had.
pub(crate) fn run(basis: &Basis, cuts: usize, is_synced: bool) -> Result<String, Failure> {
    if !is_synced {
        needs_strace()?;
    }
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let mut counts = Counts::default();
    while counts.cuts < cuts {
        let count = CUTS_PER_RECORDING.min(cuts - counts.cuts);
        let folder = basis.folder_for(&format!("recording-{}", counts.recordings))?;
        one_recording((&basis.program, is_synced), &folder, &mut random, count, &mut counts)?;
        remove(&folder);
        counts.recordings += 1;
    }
    let Counts { recordings, of, with_unflushed, writes, flushes, acknowledged, asked_again, before_first, .. } =
        counts;
    let [lost, kept, some, torn] = of;
    Ok(format!(
        "{cuts} power cuts at moments of {recordings} recordings ({writes} writes, {flushes} flushes); unflushed writes lost \
         {lost} times, kept {kept}, some kept {some}, torn {torn}; {with_unflushed} cuts met any, {before_first} came before the \
         store was there; at the cuts {acknowledged} operations were acknowledged, none lost; {asked_again} requests unknown, \
         asked again"
    ))
}

fn one_recording(
    (path, is_synced): (&Path, bool),
    folder: &Path,
    random: &mut Pcg64,
    count: usize,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let begun = new_file_system(&folder.join("begun"))?;
    let ticks = Ticks::default();
    let told = Told::with(ticks.clone());
    let (introduced, kept) = record((path, is_synced), folder, begun.clone(), (&ticks, &told), random)?;
    counts.writes += kept.iter().filter(|kept| matches!(kept, Kept::Write { .. })).count();
    counts.flushes += kept.iter().filter(|kept| matches!(kept, Kept::Flush { .. })).count();
    let mut moments: Vec<usize> = (0..count).map(|_| moment(&kept, random)).collect();
    moments.sort_unstable();
    let mut rewound = Rewound::new(begun, &kept);
    for last in moments {
        let cut = Cut::ALL[random.random_range(0..Cut::ALL.len())];
        let image = folder.join("cut");
        let unsure = File::create(&image)
            .and_then(|file| rewound.cut_after(last, cut, random, &file))
            .map_err(|error| format!("write {}: {error}", image.display()))?;
        // What happens up to the next thing that the disk was told, happens on this disk.
        let moment = kept.get(last + 1).map_or(u64::MAX - 1, Kept::tick);
        look(path, folder, &image, &told, (moment, introduced), counts).map_err(|problem| {
            format!("cut after {last} of {}, {cut:?}, {unsure} writes unflushed: {problem}", kept.len())
        })?;
        counts.cuts += 1;
        counts.of[cut as usize] += 1;
        counts.with_unflushed += usize::from(unsure > 0);
    }
    Ok(())
}

/// A moment of a recording: half of them where most is at stake, right before a flush.
fn moment(kept: &[Kept], random: &mut Pcg64) -> usize {
    let any = random.random_range(0..kept.len());
    let before_flush = kept[any..].iter().position(|kept| matches!(kept, Kept::Flush { .. }));
    match before_flush {
        Some(further) if random.random_bool(0.5) => (any + further).saturating_sub(1),
        _ => any,
    }
}

/// Runs the program on a new disk, under load, with a clean end and a kill in between. Gives the count from which on its users
/// have their plans, and what the disk kept.
fn record(
    (path, is_synced): (&Path, bool),
    folder: &Path,
    begun: Vec<u8>,
    (ticks, told): (&Ticks, &Told),
    random: &mut Pcg64,
) -> Result<(u64, Vec<Kept>), Failure> {
    let (under, on) = (folder.join("under"), folder.join("on"));
    make(&[&under, &on])?;
    let disk = KeepingDisk::mount(&under, begun, ticks.clone())
        .map_err(|error| Failure::Missing(format!("a file system of our own (FUSE, /dev/fuse): {error}")))?;
    let mounted = Mounted::loop_device(&under.join(KeepingDisk::file_name()), &on)?;
    // A call that is told to be done and is not.
    let inject = (!is_synced).then(|| Inject { what: "fdatasync:retval=0".to_owned(), files: &[] });
    let program = Program { data: on.join("data"), inject, ..Program::on(path, folder) };
    let mut introduced = None;
    for round in 0..3 {
        let mut running = start(&program)?;
        let http = running.http(ANSWER_WAIT);
        if introduced.is_none() {
            load::introduce(&http)?;
            introduced = Some(ticks.next());
        }
        let enough = random.random_range(20..60);
        under_load(&http, told, Manner::default(), (random.random(), &format!("round_{round}")), |shared| {
            wait_for_answers(shared, enough, Duration::from_secs(20));
            if round == 1 { running.kill() } else { running.stop().map(|_| ()) }
        })?;
    }
    mounted.unmount()?;
    Ok((introduced.unwrap_or_default(), disk.unmount()?))
}

/// Mounts what a cut left, starts the program on it, and looks.
fn look(
    path: &Path,
    folder: &Path,
    image: &Path,
    told: &Told,
    (moment, introduced): (u64, u64),
    counts: &mut Counts,
) -> Result<(), String> {
    let at = folder.join("cut-on");
    make(&[&at])?;
    let mounted = Mounted::loop_device(image, &at).map_err(|failure| format!("{failure:?}"))?;
    let program = Program { data: at.join("data"), ..Program::on(path, folder) };
    let running = start(&program)?;
    if moment < introduced {
        // Plans may be there or not; only that it starts and proves itself can be asked.
        super::run::proves(&running.http(ANSWER_WAIT))?;
        counts.before_first += 1;
    } else {
        counts.acknowledged += told.as_of(moment).history.acknowledged();
        counts.asked_again += settles(&running, told, moment)?;
    }
    drop(running);
    program.verify()?;
    mounted.unmount()
}

/// A new ext4 as bytes.
fn new_file_system(at: &Path) -> Result<Vec<u8>, Failure> {
    let file = File::create(at).and_then(|file| file.set_len((DISK_MEBIBYTES << 20) as u64));
    file.map_err(|error| format!("make {}: {error}", at.display()))?;
    ext4(at)?;
    let bytes = std::fs::read(at).map_err(|error| format!("read {}: {error}", at.display()))?;
    // What is left of it would be in the way of nothing but space.
    let _ = std::fs::remove_file(at);
    Ok(bytes)
}

/// Makes an ext4 in a file: 4 KiB blocks, all of them for everybody, nothing left to be done later.
pub(crate) fn ext4(file: &Path) -> Result<(), Failure> {
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]);
    done(command.arg(file))
}

/// A file system that is mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: Option<PathBuf>,
}

impl Mounted {
    /// Mounts the file system in a file, through a loop device that goes with it.
    pub(crate) fn loop_device(file: &Path, at: &Path) -> Result<Self, Failure> {
        done(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(file).arg(at))?;
        Ok(Self { at: Some(at.to_owned()) })
    }

    pub(crate) fn unmount(mut self) -> Result<(), String> {
        let Some(at) = self.at.take() else { return Ok(()) };
        done(Command::new("umount").arg(at)).map_err(|failure| format!("{failure:?}"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(at) = &self.at {
            // Lazily: after a failure somebody may still be in there.
            let _ = Command::new("umount").arg("--lazy").arg(at).status();
        }
    }
}

/// Runs what only root may; what cannot be run, or is refused, is missing here.
fn done(command: &mut Command) -> Result<(), Failure> {
    let output = command
        .output()
        .map_err(|error| Failure::Missing(format!("the program {}: {error}", command.get_program().display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Missing(format!("{command:?} is refused; it needs root, and a loop device: {}", said.trim())))
}

fn make(folders: &[&Path]) -> Result<(), String> {
    folders.iter().try_for_each(|folder| {
        std::fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))
    })
}
