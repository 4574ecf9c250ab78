//! The tables of one duplicate index, and every statement on them.
//!
//! - `P_run_N_S(h, id)`: the keys of segment S of run N, in order. Rows are only ever written behind the last one.
//! - `P_run_meta(n, first_id, last_id, keys, state, cursor, merged_into)`: one row for each run.
//! - `P_run_filter(n, chunk, bits, checksum)`: the runs' filters in pieces. It can always be computed from the keys.

use rusqlite::{Connection, OptionalExtension as _, params};
use xxhash_rust::xxh3::xxh3_64;

use super::RunError;
use super::filter::Filter;
use super::keys::{Key, loaded_hash, stored_hash};
use super::shape::{Division, Shape, behind};

/// Keys for one insert statement; fewer take the statement for a single key.
const KEYS_PER_INSERT: usize = 32;

/// What is being done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    /// It takes the keys of the frozen map; the cursor is the highest hash that it has. There is at most one.
    Building,
    /// It takes the keys of the runs that name it in `merged_into`, up to the cursor. There is at most one.
    Merging,
    /// It has all its keys, and is asked. When it is merged, the cursor is the highest hash of the segments that are
    /// dropped.
    Live,
}

impl RunState {
    fn as_text(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Merging => "merging",
            Self::Live => "live",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Building, Self::Merging, Self::Live].into_iter().find(|state| state.as_text() == text)
    }
}

/// A row of `run_meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunMeta {
    /// Numbers rise: the target of a merge has a higher one than its sources.
    pub(super) n: i64,
    pub(super) first_id: u64,
    /// No key of the run has a higher id.
    pub(super) last_id: u64,
    pub(super) keys: u64,
    pub(super) state: RunState,
    /// All keys with this hash and below it were moved, or dropped. `None`: nothing was.
    pub(super) cursor: Option<u64>,
    pub(super) merged_into: Option<i64>,
}

/// What the file has of a piece of a run's filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Missing,
    /// Its bytes are not those that were written.
    Changed,
    Whole(Vec<u8>),
}

/// The statements on the tables with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    prefix: String,
    division: Division,
}

impl Tables {
    pub(super) fn new(prefix: &str, division: Division) -> Self {
        assert!(
            !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "a table prefix is lower-case letters: {prefix:?}"
        );
        Self { prefix: prefix.to_owned(), division }
    }

    pub(super) fn shape(&self, run: &RunMeta) -> Shape {
        Shape::for_keys(run.keys, self.division)
    }

    pub(super) fn create(&self, connection: &Connection) -> rusqlite::Result<()> {
        let prefix = &self.prefix;
        connection.execute_batch(&format!(
            "CREATE TABLE {prefix}_run_meta (
                 n INTEGER PRIMARY KEY,
                 first_id INTEGER NOT NULL,
                 last_id INTEGER NOT NULL,
                 keys INTEGER NOT NULL,
                 state TEXT NOT NULL,
                 cursor INTEGER,
                 merged_into INTEGER
             ) STRICT;
             CREATE TABLE {prefix}_run_filter (
                 n INTEGER NOT NULL,
                 chunk INTEGER NOT NULL,
                 bits BLOB NOT NULL,
                 checksum INTEGER NOT NULL,
                 PRIMARY KEY (n, chunk)
             ) STRICT;"
        ))
    }

    /// Every run of the file, oldest number first.
    pub(super) fn load_meta(&self, connection: &Connection) -> Result<Vec<RunMeta>, RunError> {
        let prefix = &self.prefix;
        let mut statement = connection.prepare(&format!(
            "SELECT n, first_id, last_id, keys, state, cursor, merged_into FROM {prefix}_run_meta ORDER BY n"
        ))?;
        let mut rows = statement.query([])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            let n = row.get(0)?;
            let state: String = row.get(4)?;
            let Some(state) = RunState::from_text(&state) else {
                return Err(RunError::Damaged(format!("{prefix}_run_{n} has the unknown state {state:?}")));
            };
            runs.push(RunMeta {
                n,
                first_id: row.get::<_, i64>(1)?.cast_unsigned(),
                last_id: row.get::<_, i64>(2)?.cast_unsigned(),
                keys: row.get::<_, i64>(3)?.cast_unsigned(),
                state,
                cursor: row.get::<_, Option<i64>>(5)?.map(loaded_hash),
                merged_into: row.get(6)?,
            });
        }
        Ok(runs)
    }

    /// Makes the row of a run that has no keys yet.
    pub(super) fn create_run(&self, connection: &Connection, run: &RunMeta) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&format!(
            "INSERT INTO {}_run_meta (n, first_id, last_id, keys, state, cursor, merged_into)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            self.prefix
        ))?;
        statement.execute(params![
            run.n,
            run.first_id.cast_signed(),
            run.last_id.cast_signed(),
            run.keys.cast_signed(),
            run.state.as_text(),
            run.cursor.map(stored_hash),
            run.merged_into,
        ])?;
        Ok(())
    }

    pub(super) fn set_progress(
        &self,
        connection: &Connection,
        n: i64,
        state: RunState,
        cursor: Option<u64>,
    ) -> rusqlite::Result<()> {
        let mut statement = connection
            .prepare_cached(&format!("UPDATE {}_run_meta SET state = ?2, cursor = ?3 WHERE n = ?1", self.prefix))?;
        statement.execute(params![n, state.as_text(), cursor.map(stored_hash)])?;
        Ok(())
    }

    /// Writes the keys behind the run's cursor up to the hash `until`, and the pieces of its filter that they complete.
    pub(super) fn append(
        &self,
        connection: &Connection,
        run: &RunMeta,
        filter: &Filter,
        until: u64,
        keys: &[Key],
    ) -> rusqlite::Result<()> {
        let shape = self.shape(run);
        let first = behind(run.cursor);
        for segment in shape.segment_of(first)..=shape.segment_of(until) {
            if shape.hashes_of_segment(segment).0 >= first {
                connection.execute_batch(&format!(
                    "CREATE TABLE {} (h INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (h, id)) STRICT, WITHOUT ROWID",
                    self.segment(run, segment)
                ))?;
            }
        }
        for keys in keys.chunk_by(|one, other| shape.segment_of(one.hash) == shape.segment_of(other.hash)) {
            if let Some(first) = keys.first() {
                append_keys(connection, &self.segment(run, shape.segment_of(first.hash)), keys)?;
            }
        }
        for chunk in shape.chunks_done_at(run.cursor)..shape.chunks_done_at(Some(until)) {
            self.write_chunk(connection, run.n, chunk, &filter.chunk_bytes(chunk))?;
        }
        Ok(())
    }

    /// Adds the ids that a run holds under a hash.
    pub(super) fn find_ids(
        &self,
        connection: &Connection,
        run: &RunMeta,
        hash: u64,
        ids: &mut Vec<u64>,
    ) -> rusqlite::Result<()> {
        let table = self.segment(run, self.shape(run).segment_of(hash));
        let mut statement = connection.prepare_cached(&format!("SELECT id FROM {table} WHERE h = ?1"))?;
        let mut rows = statement.query([stored_hash(hash)])?;
        while let Some(row) = rows.next()? {
            ids.push(row.get::<_, i64>(0)?.cast_unsigned());
        }
        Ok(())
    }

    /// Hands out the keys of a run with hashes from `first` to `last`, both included, in order. The run must have
    /// their segments.
    pub(super) fn read_keys(
        &self,
        connection: &Connection,
        run: &RunMeta,
        (first, last): (u64, u64),
        mut each: impl FnMut(Key),
    ) -> rusqlite::Result<()> {
        let shape = self.shape(run);
        for segment in shape.segment_of(first)..=shape.segment_of(last) {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT h, id FROM {} WHERE h BETWEEN ?1 AND ?2 ORDER BY h, id",
                self.segment(run, segment)
            ))?;
            let mut rows = statement.query([stored_hash(first), stored_hash(last)])?;
            while let Some(row) = rows.next()? {
                each(Key { hash: loaded_hash(row.get(0)?), id: row.get::<_, i64>(1)?.cast_unsigned() });
            }
        }
        Ok(())
    }

    fn write_chunk(&self, connection: &Connection, n: i64, chunk: u64, bits: &[u8]) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&format!(
            "INSERT INTO {}_run_filter (n, chunk, bits, checksum) VALUES (?1, ?2, ?3, ?4)",
            self.prefix
        ))?;
        statement.execute(params![n, chunk.cast_signed(), bits, xxh3_64(bits).cast_signed()])?;
        Ok(())
    }

    /// A stored piece of a filter.
    pub(super) fn load_piece(&self, connection: &Connection, n: i64, chunk: u64) -> rusqlite::Result<Piece> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT bits, checksum FROM {}_run_filter WHERE n = ?1 AND chunk = ?2",
            self.prefix
        ))?;
        let row = statement
            .query_row([n, chunk.cast_signed()], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        Ok(match row {
            None => Piece::Missing,
            Some((bits, checksum)) if xxh3_64(&bits) == checksum.cast_unsigned() => Piece::Whole(bits),
            Some(_) => Piece::Changed,
        })
    }

    /// Names the runs that a merge takes.
    pub(super) fn set_merged_into(
        &self,
        connection: &Connection,
        sources: &[i64],
        target: i64,
    ) -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached(&format!("UPDATE {}_run_meta SET merged_into = ?2 WHERE n = ?1", self.prefix))?;
        for n in sources {
            statement.execute([*n, target])?;
        }
        Ok(())
    }

    /// Drops a segment of a run that is merged, with its share of the filter, and the run with its last segment. Its
    /// cursor goes to the segment's highest hash.
    ///
    /// A run holds no text, only keyed hashes, so the freed pages are not overwritten: that would write each of them to
    /// the log once more.
    pub(super) fn drop_segment(&self, connection: &Connection, run: &RunMeta, segment: u64) -> rusqlite::Result<()> {
        let before: i64 = connection.query_row("PRAGMA secure_delete", [], |row| row.get(0))?;
        connection.query_row("PRAGMA secure_delete = FAST", [], |_| Ok(()))?;
        let dropped = self.drop_segment_fast(connection, run, segment);
        let back = match before {
            0 => "PRAGMA secure_delete = OFF",
            1 => "PRAGMA secure_delete = ON",
            _ => "PRAGMA secure_delete = FAST",
        };
        connection.query_row(back, [], |_| Ok(()))?;
        dropped
    }

    fn drop_segment_fast(&self, connection: &Connection, run: &RunMeta, segment: u64) -> rusqlite::Result<()> {
        let prefix = &self.prefix;
        connection.execute_batch(&format!("DROP TABLE {}", self.segment(run, segment)))?;
        let chunks = self.shape(run).chunks_of_segment(segment);
        connection
            .prepare_cached(&format!("DELETE FROM {prefix}_run_filter WHERE n = ?1 AND chunk >= ?2 AND chunk < ?3"))?
            .execute([run.n, chunks.start.cast_signed(), chunks.end.cast_signed()])?;
        let (_, last) = self.shape(run).hashes_of_segment(segment);
        if last < u64::MAX {
            return self.set_progress(connection, run.n, run.state, Some(last));
        }
        connection.prepare_cached(&format!("DELETE FROM {prefix}_run_meta WHERE n = ?1"))?.execute([run.n])?;
        Ok(())
    }

    fn segment(&self, run: &RunMeta, segment: u64) -> String {
        format!("{}_run_{}_{segment}", self.prefix, run.n)
    }
}

fn append_keys(connection: &Connection, table: &str, keys: &[Key]) -> rusqlite::Result<()> {
    let (groups, rest) = keys.as_chunks::<KEYS_PER_INSERT>();
    if !groups.is_empty() {
        let places = vec!["(?,?)"; KEYS_PER_INSERT].join(",");
        let mut statement = connection.prepare_cached(&format!("INSERT INTO {table} (h, id) VALUES {places}"))?;
        for group in groups {
            for (position, key) in group.iter().enumerate() {
                statement.raw_bind_parameter(2 * position + 1, stored_hash(key.hash))?;
                statement.raw_bind_parameter(2 * position + 2, key.id.cast_signed())?;
            }
            statement.raw_execute()?;
        }
    }
    let mut statement = connection.prepare_cached(&format!("INSERT INTO {table} (h, id) VALUES (?, ?)"))?;
    for key in rest {
        statement.execute([stored_hash(key.hash), key.id.cast_signed()])?;
    }
    Ok(())
}
