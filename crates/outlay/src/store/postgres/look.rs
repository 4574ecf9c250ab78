//! What a database says of itself, for whoever looks after it.

use tokio_postgres::types::Type;

use super::connector::Connector;
use super::errors::unavailable;
use super::reader::READERS;
use super::rows::RowReader;
use super::{APPLICATION, LANES_MAX, Settings, connect, safety};
use crate::store::StoreError;

/// The oldest version that has all that is sent, as `server_version_num` has it.
pub const OLDEST_VERSION: i64 = 140_000;
/// Connections of one node, at most: its lanes, those that read, and one each for records, chores, retention and watching
/// over the database.
#[expect(clippy::cast_possible_wrap, reason = "they are few")]
pub const CONNECTIONS_OF_NODE: i64 = LANES_MAX as i64 + READERS as i64 + 4;

const LOOK: &str = "select current_setting('server_version'), current_setting('server_version_num')::int8, \
     current_setting('max_connections')::int8, \
     current_setting('superuser_reserved_connections')::int8, \
     (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() \
      and application_name <> $1), \
     (extract(epoch from clock_timestamp()) * 1000)::int8, current_setting('synchronous_standby_names'), \
     current_setting('fsync') || ' ' || current_setting('full_page_writes'), current_setting('wal_compression'), \
     (select setting::int8 from pg_settings where name = 'checkpoint_timeout'), \
     (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum') or sync_state is null)";

/// How a database is.
#[derive(Debug, Clone)]
pub struct Look {
    /// Its version, such as `15.18`.
    pub version: String,
    /// The same as a number, such as 150018.
    pub version_number: i64,
    /// How many connections it takes, without those that are kept for its superuser.
    pub connections: i64,
    /// How many of them others than nodes have.
    pub taken_by_others: i64,
    /// What its clock says, in milliseconds since 1970.
    pub clock_millis: i64,
    /// How many standbys a commit waits for.
    pub standbys_needed: u64,
    /// How many of those that may be waited for are connected.
    pub standbys_connected: u64,
    /// What an acknowledgement promises, in words.
    pub promise: &'static str,
    /// Whether what it says is on its disk is there after a power cut.
    pub is_durable: bool,
    /// How it packs whole pages in its log: `off` is not at all.
    pub wal_compression: String,
    /// Seconds between checkpoints, after each of which whole pages are logged again.
    pub checkpoint_seconds: i64,
}

/// Looks at a database, and changes nothing.
///
/// # Errors
/// When it cannot be reached, or does not say.
pub async fn look(settings: &Settings) -> Result<Look, StoreError> {
    let client = connect(&Connector::new(settings)).await?;
    let row = client.query_typed_one(LOOK, &[(&APPLICATION, Type::TEXT)]).await.map_err(unavailable)?;
    let mut row = RowReader::new(&row);
    let version = row.required_text()?.to_owned();
    let (version_number, connections, kept) = (row.required()?, row.required()?, row.required()?);
    let taken_by_others = row.required()?;
    let clock_millis = row.required()?;
    let standbys_needed = safety::needed(row.required_text()?);
    let writes = row.required_text()?;
    Ok(Look {
        version,
        version_number,
        connections: connections - kept,
        taken_by_others,
        clock_millis,
        standbys_needed,
        promise: safety::promise(writes.starts_with("on"), standbys_needed),
        is_durable: writes == "on on",
        wal_compression: row.required_text()?.to_owned(),
        checkpoint_seconds: row.required()?,
        standbys_connected: row.number()?,
    })
}
