//! A file that is imported, in any of its forms: each row becomes something or is named with a reason, and once more the same
//! file records nothing.

use std::cell::LazyCell;
use std::path::Path;

use outlay::cli::{Imported, import_file};
use outlay::client::Client;
use outlay::config::{Config, Environment, Flags, settings};

struct Service {
    runtime: tokio::runtime::Runtime,
    client: Client,
    folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = crate::rows::folder();
        let mut flags = Flags::default();
        flags.say(&settings::DATA, Some(folder.path().join("data")));
        let config = Config::read(&flags, &Environment::default()).expect("the folder alone is a sound setting");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::open(&config)).expect("a new store");
        Self { runtime, client, folder }
    }
}

/// See the head of the file.
pub fn import(data: &[u8]) {
    thread_local! {
        static SERVICE: LazyCell<Service> = const { LazyCell::new(Service::start) };
    }
    SERVICE.with(|service| {
        let path = service.folder.path().join("rows");
        std::fs::write(&path, data).expect("written");
        let import = || service.runtime.block_on(import_file(&path, &service.client));
        let text = || String::from_utf8_lossy(data);
        let Ok(first) = import() else { return };
        says_why(&path, &first);
        if data.trim_ascii_start().starts_with(b"{") {
            let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            assert_eq!(rows_of(&first), lines as u64, "a row is lost: {first:?} of {}", text());
        }
        let again = import().expect("what was read is read again");
        says_why(&path, &again);
        assert_eq!(rows_of(&again), rows_of(&first), "{first:?} {again:?} of {}", text());
        // What was refused for its order may pass when all else is there.
        if first.rejected == 0 {
            assert_eq!((again.recorded, again.rejected), (0, 0), "{first:?} {again:?} of {}", text());
        }
    });
}

/// How many rows became something.
fn rows_of(imported: &Imported) -> u64 {
    let Imported { recorded, duplicates, users, sessions, rejected, .. } = imported;
    let Imported { sessions_by_steps, sessions_without_steps, denials, alerts, .. } = imported;
    recorded + duplicates + users + sessions + rejected + sessions_by_steps + sessions_without_steps + denials + alerts
}

/// Each rejected row stands in a file with its line and the reason.
fn says_why(path: &Path, imported: &Imported) {
    let rejected = std::fs::read_to_string(path.with_extension("rejected.jsonl")).unwrap_or_default();
    assert_eq!(rejected.lines().count() as u64, imported.rejected, "{rejected}");
    for line in rejected.lines() {
        let said: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(said["line"].as_u64().is_some_and(|line| line > 0), "{line}");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
    }
}
