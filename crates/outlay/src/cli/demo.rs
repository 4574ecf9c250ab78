//! `outlay demo`: a server with sample data that goes on moving, in a folder of its own.

mod acts;
mod history;
mod live;
mod people;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::serve::{Listeners, opening, serve};
use super::{Exit, Failure, read_config, runtime, show};
use crate::clock::{ReplayClock, SharedClock, SystemClock};
use crate::config::{Config, Environment, Flags, settings};
use crate::local::{Local, Purpose};
use crate::store::embedded;
use people::READER;

/// The file that says that a folder is the demo's, and whether its sample data is whole.
const MARK_NAME: &str = "demo";
/// What it says once it is.
const WHOLE: &str = "the sample data is whole\n";

/// Try Outlay, with six months of sample data
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay demo\n  outlay demo --fresh --listen 127.0.0.1:4999\n\n\
    It needs no key and listens on this machine only. The data is kept in the cache folder, so a second start goes on \
    where the first ended; --fresh begins anew. The user bgtfrdsZ, on the plan premium, is yours: the demo never touches \
    it.")]
pub(super) struct Demo {
    /// Begin anew
    #[arg(long)]
    fresh: bool,
    /// The address to listen on [OUTLAY_LISTEN; default 127.0.0.1:4780]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Makes up other people: the forecast's back-test judges on some on whom it was not made
    #[arg(long, value_name = "N", default_value_t = people::SEED, hide = true)]
    seed: u64,
}

impl Demo {
    pub(super) fn run(self, data: Option<PathBuf>, mut flags: Flags) -> Result<Exit, Failure> {
        let folder = data.or_else(|| Some(Environment::of_process().cache_folder()?.join("outlay").join("demo")));
        let folder =
            folder.ok_or_else(|| Failure::Usage("there is no cache folder; name one with --data".to_owned()))?;
        flags.say(&settings::DATA, Some(&folder));
        flags.say(&settings::LISTEN, self.listen);
        flags.say(&settings::OPEN, Some("true"));
        // What is set for a real server has no place here: plans, keys and a door for everybody.
        let config = Config {
            store: None,
            plans: None,
            mail: None,
            webhooks: Vec::new(),
            admin_key: None,
            master_key: None,
            public_listen: None,
            allowed_origins: None,
            trusted_proxies: Vec::new(),
            ..read_config(&flags, "warn")?
        };
        let runtime = runtime(true)?;
        let served = runtime.block_on(demo(&config, self.fresh, self.seed));
        runtime.shutdown_background();
        served
    }
}

async fn demo(config: &Config, fresh: bool, seed: u64) -> Result<Exit, Failure> {
    let clock = SystemClock::shared();
    let whole = prepare(&config.data, fresh)?;
    // Before the work, so that a port that is taken is known at once; who connects meanwhile waits.
    let listeners = Listeners::bind(config).await?;
    if !whole {
        let now = clock.wall();
        let first = now.month().minus(people::MONTHS_BACK).start();
        let replay = Arc::new(ReplayClock::new(Arc::clone(&clock), first));
        // The store that records the past is another one to this process than the one that goes on: only its clock differs.
        let local = open(config, Arc::<ReplayClock>::clone(&replay)).await?;
        let recorded = Box::pin(history::record(&local.app.writer.quietly(), &replay, now, seed)).await;
        local.close().await?;
        recorded?;
        let mark = config.data.join(MARK_NAME);
        fs::write(&mark, WHOLE).map_err(Failure::io(format!("write {}", mark.display())))?;
    }
    let local = open(config, Arc::clone(&clock)).await?;
    show::say(&welcome(listeners.address, &config.data));
    let going_on = live::go_on(local.app.writer.quietly(), clock, seed);
    serve(local, listeners, going_on).await
}

async fn open(config: &Config, clock: SharedClock) -> Result<Local, Failure> {
    Local::open(config, clock, Purpose::Serving).await.map_err(|error| opening(&error))
}

/// Makes the folder ready; gives whether its sample data is whole.
fn prepare(folder: &Path, fresh: bool) -> Result<bool, Failure> {
    let failed = || format!("prepare {}", folder.display());
    let mark = folder.join(MARK_NAME);
    let state = fs::read_to_string(&mark).ok();
    if state.is_none() && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Usage(format!("{} holds something that is not a demo's", folder.display())));
    }
    let whole = state.as_deref() == Some(WHOLE);
    if whole && !fresh {
        return Ok(true);
    }
    let _lock = embedded::lock_folder(folder)?;
    fs::write(&mark, "the sample data is being made\n").map_err(Failure::io(failed()))?;
    for entry in fs::read_dir(folder).map_err(Failure::io(failed()))? {
        let path = entry.map_err(Failure::io(failed()))?.path();
        if path != mark && path.file_name().is_some_and(|name| name != embedded::LOCK_NAME) {
            fs::remove_file(&path).map_err(Failure::io(format!("remove {}", path.display())))?;
        }
    }
    Ok(false)
}

/// What to try first.
fn welcome(address: std::net::SocketAddr, folder: &Path) -> String {
    let api = format!("http://{address}");
    let session = "session_scan_1760380376660_72r1";
    format!(
        "\nOutlay with six months of sample data, still moving; it is kept in {folder}.\n\
         User {READER} is on the plan premium and is yours. Scan a business card:\n\n\
         API={api}\n\
         JSON='Content-Type: application/json'\n\
         curl -s $API/v1/users/{READER}/sessions -H \"$JSON\" -d '{{\"sessionId\": \"{session}\",\n  \
           \"feature\": \"business_card_scan\", \"estimate\": {{\"cost\": 0.002, \"aiRuns\": 1}}}}'\n\
         curl -s $API/v1/usage -H \"$JSON\" -d '{{\"userId\": \"{READER}\", \"operationId\": \"usage_1760380377100_ocr1\",\n  \
           \"sessionId\": \"{session}\", \"usageType\": \"ApiUsage\", \"feature\": \"business_card_scan_ocr\",\n  \
           \"provider\": \"google_vision_ocr\", \"cost\": 0.0015}}'\n\
         curl -s $API/v1/usage -H \"$JSON\" -d '{{\"userId\": \"{READER}\", \"operationId\": \"usage_1760380378785_zrix\",\n  \
           \"sessionId\": \"{session}\", \"usageType\": \"AIUsage\", \"feature\": \"business_card_scan\",\n  \
           \"provider\": \"gemini\", \"cost\": 0.00010785, \"isBillableRun\": true, \"finishSession\": \"completed\"}}'\n\
         curl -s $API/v1/users/{READER}/budget\n\n\
         It says 0.00160785 used and AI Operations 1 of 30. The same as a table: outlay budget {READER} --data {folder}\n\
         Everybody else: curl -s $API/v1/overview\n",
        folder = folder.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_the_demos_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("outlay.db");
        fs::write(&real, "everything").unwrap();
        for fresh in [false, true] {
            assert!(prepare(folder.path(), fresh).is_err());
            assert_eq!(fs::read_to_string(&real).unwrap(), "everything");
        }
    }

    #[test]
    fn sample_data_that_is_not_whole_is_made_anew_and_whole_one_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!prepare(folder.path(), false).unwrap());
        let half = folder.path().join("outlay.db");
        fs::write(&half, "half").unwrap();
        assert!(!prepare(folder.path(), false).unwrap());
        assert!(!half.exists());
        fs::write(folder.path().join(MARK_NAME), WHOLE).unwrap();
        assert!(prepare(folder.path(), false).unwrap());
        assert!(!prepare(folder.path(), true).unwrap());
    }
}
