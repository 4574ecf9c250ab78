//! Opens a store: its file, which is made or brought up to date, and what of it is kept in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlay_core::id::OperationNo;
use outlay_core::ledger::{Books, Numbers};
use outlay_core::month::Timestamp;
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use rusqlite::Connection;

use super::behind::Behind;
use super::checkpoint::Checkpointer;
use super::codec::{self, stored};
use super::names::Names;
use super::outbox::{self, Outbox};
use super::published::Published;
use super::roster::KeptRoster;
use super::runs::{RunIndex, RunSettings};
use super::space::Space;
use super::unswept::Unswept;
use super::{
    EmbeddedStore, FILE_NAME, LOCK_NAME, Settings, Shared, audit, load, moving, reads, retention, tables, write,
};
use crate::audit::of_configured_plans;
use crate::feed::Feed;
use crate::store::hold_clock::HoldClock;
use crate::store::moving::Mark;
use crate::store::{Reads, StoreError, random};

/// Opens the store of a folder, which is made if there is none.
///
/// # Errors
/// When another process owns the folder, the file is no store or is of a newer version, or the disk fails.
pub fn open(settings: Settings) -> Result<(EmbeddedStore, Arc<dyn Reads>), StoreError> {
    open_unless(settings, |mark| Some(mark.refusal()))
}

/// The same for a move, which also opens what a move has.
pub(in crate::store) fn open_marked(settings: Settings) -> Result<(EmbeddedStore, Arc<dyn Reads>), StoreError> {
    open_unless(settings, |_| None)
}

fn open_unless(
    settings: Settings,
    refused: fn(&Mark) -> Option<String>,
) -> Result<(EmbeddedStore, Arc<dyn Reads>), StoreError> {
    let lock = if settings.vfs.is_none() { Some(lock_folder(&settings.folder)?) } else { None };
    let file = tables::File {
        path: settings.folder.join(FILE_NAME),
        vfs: settings.vfs.clone(),
        cache_kib: settings.cache_kib,
    };
    let mut random = random::seeded(settings.seed)?;
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    let mut space = Space::new(settings.volume.clone(), settings.marks);
    let (mut connection, identity) = match open_file(&file, bytes) {
        // A store on a full disk is still read, and still ends and gives back.
        Err(StoreError::DiskFull) if space.drop_reserve() => open_file(&file, bytes),
        opened => opened,
    }?;
    let mark = moving::mark(&connection)?.and_then(|mark| Mark::parse(&mark));
    if let Some(why) = mark.as_ref().and_then(refused) {
        return Err(StoreError::Unavailable(why));
    }
    let outbox = configure(&mut connection, &settings)?;

    let names = Names::load(&connection)?;
    let numbers = load::numbers(&connection)?;
    let (operations, sessions, behind) = read_large(&file, &connection, &identity, &settings, &names, last(&numbers))?;
    let Behind { sweep, days } = behind;
    let high_water = load::one(&connection, "select value from meta where key = 'clock'", [], |row| {
        codec::RowReader::new(row).time()
    })?;
    let batch: i64 = connection.query_row("select value from meta where key = 'batch'", [], |row| row.get(0))?;
    let plans = load::plans(&connection)?.with_alerts(settings.alerts.clone());
    let seed = random.next_u64();
    let books = Books::new(seed, plans, numbers);
    let published = Published::new(seed, Arc::clone(books.plans()), batch.cast_unsigned(), numbers);
    *published.keys.write() = write::load_keys(&connection)?;
    *published.secrets.write() = write::load_secrets(&connection)?;
    *published.webhooks.write() = outbox::load_webhooks(&connection)?.into();
    *published.token_ends.write() = audit::load_token_ends(&connection, settings.clock.wall())?;
    published.audit.begin(audit::newest(&connection)?, audit::copied(&connection)?);
    let checkpointer = Checkpointer::start(&file, &mut connection, settings.vfs.is_none(), settings.sizes.log_pages)?;
    space.look(0)?;
    let shared = Arc::new(Shared {
        published,
        roster: KeptRoster::new(batch.cast_unsigned()),
        unswept: Unswept::default(),
        names,
        operations: RwLock::new(operations),
        sessions: RwLock::new(sessions),
        clock: HoldClock::new(Arc::clone(&settings.clock), high_water.unwrap_or(Timestamp::EPOCH)),
        feed: Arc::new(Feed::new(identity.epoch.cast_unsigned())),
        identity,
        log_pages: checkpointer.pages(),
        space: space.seen(),
        trimmed: Mutex::new(retention::Cursor::read(&connection)?),
    });
    let mut store = EmbeddedStore {
        connection,
        file: file.clone(),
        shared: Arc::clone(&shared),
        books,
        days,
        sweep,
        session_days: write::SessionDays::default(),
        random,
        batch: batch.cast_unsigned(),
        checkpointer,
        bytes: Vec::new(),
        space,
        outbox,
        wiping: true,
        trimmed_log: false,
        settings,
        _lock: lock,
    };
    store.load_open_holds()?;
    store.shared.unswept.publish(store.batch, store.all_newer(), &[]);
    if store.settings.vfs.is_none() {
        store.renew_list()?;
    }
    let reads = reads::EmbeddedReads::new(shared, file, store.settings.vfs.is_none());
    Ok((store, Arc::new(reads)))
}

/// Reads what takes many rows, each of both on a core of its own, but for a simulation: the duplicate indexes of operations and of
/// sessions, and what months' rows are behind.
fn read_large(
    file: &tables::File,
    connection: &Connection,
    identity: &tables::Identity,
    settings: &Settings,
    names: &Names,
    last: OperationNo,
) -> Result<(RunIndex, RunIndex, Behind), StoreError> {
    let runs = settings.runs;
    let read_indexes = |connection: &Connection| -> Result<_, StoreError> {
        let operations = (tables::OPERATION_RUNS, "operation", "operation_id");
        let sessions = (tables::SESSION_RUNS, "session", "session_id");
        Ok((open_index(connection, identity, runs, operations)?, open_index(connection, identity, runs, sessions)?))
    };
    let (indexes, behind) = if settings.vfs.is_none() {
        let reader = file.reader()?;
        std::thread::scope(|scope| {
            let indexes = scope.spawn(move || read_indexes(&reader));
            let behind = Behind::read(connection, names, last);
            (indexes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), behind)
        })
    } else {
        (read_indexes(connection), Behind::read(connection, names, last))
    };
    let (operations, sessions) = indexes?;
    Ok((operations, sessions, behind?))
}

/// The duplicate index of a table's column, whose newest keys only the table has.
fn open_index(
    connection: &Connection,
    identity: &tables::Identity,
    settings: RunSettings,
    (prefix, table, column): (&str, &str, &str),
) -> Result<RunIndex, StoreError> {
    let index = RunIndex::open(connection, prefix, identity.hash_key, settings, |after, sink| {
        let mut statement = connection
            .prepare(&format!("select user, {column}, no from {table} where no > ? and {column} <> '' order by no"))?;
        let mut rows = statement.query([stored(after)])?;
        while let Some(row) = rows.next()? {
            let (user, no): (i64, i64) = (row.get(0)?, row.get(2)?);
            sink(user.cast_unsigned(), row.get_ref(1)?.as_str()?, no.cast_unsigned());
        }
        Ok(())
    })?;
    Ok(index)
}

/// The newest operation.
pub(super) fn last(numbers: &Numbers) -> OperationNo {
    OperationNo(numbers.operation.0 - 1)
}

/// Puts the configuration's webhooks and plans in place of those that are stored, and begins what is to be told with what of
/// them is another.
fn configure(connection: &mut Connection, settings: &Settings) -> Result<Outbox, StoreError> {
    let now = settings.clock.wall();
    if let Some(webhooks) = &settings.webhooks {
        let transaction = connection.transaction()?;
        outbox::configure(&transaction, webhooks, now)?;
        transaction.commit()?;
    }
    let mut outbox = Outbox::open(connection, settings.mail, now)?;
    if let Some(plans) = &settings.plans {
        let transaction = connection.transaction()?;
        let before = load::plans(&transaction)?;
        let event = of_configured_plans(&before, plans);
        load::replace_plans(&transaction, plans)?;
        audit::insert(&transaction, now, event.as_slice())?;
        outbox.tell_of_configured_plans(&transaction, &before, plans, now)?;
        transaction.commit()?;
    }
    Ok(outbox)
}

/// Opens the store's file and makes its tables, or checks those that are there.
fn open_file(file: &tables::File, random: [u8; 32]) -> Result<(Connection, tables::Identity), StoreError> {
    let mut connection = file.writer()?;
    copy_log_of_last_run(&connection)?;
    let identity = tables::prepare(&mut connection, random)?;
    Ok((connection, identity))
}

/// Copies what the last run left in the log into the file, durably, before anything is acknowledged. Where that run ended
/// by a failed sync, the system's cache may show log pages that the disk does not have; a commit behind them would be
/// lost with them at the next power cut.
fn copy_log_of_last_run(connection: &Connection) -> Result<(), StoreError> {
    let busy: i64 = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    if busy == 0 {
        return Ok(());
    }
    Err(StoreError::Unavailable("another program has the store's file open; close it and start again".to_owned()))
}

/// Checks a copied store file before it is put in place.
pub(in crate::store) fn check_backup(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    tables::check(&connection)
}

/// Where the store's file is in its folder.
pub fn file_path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// Takes the folder for this process, until what it gives is dropped; the folder is made if there is none.
///
/// # Errors
/// When another process has it.
pub fn lock_folder(folder: &Path) -> Result<std::fs::File, StoreError> {
    let unavailable = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(unavailable)?;
    let path = folder.join(LOCK_NAME);
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another Outlay process uses the folder {}; stop it, or name another folder with --data",
            folder.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(unavailable(error)),
    }
}
