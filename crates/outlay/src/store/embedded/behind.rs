//! What the rows of users' months do not say yet, added up again from the operations: at a start, and after a batch was rolled
//! back. Why they do not, [`super::sweep`] tells.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::id::{OperationNo, UserNo};
use outlay_core::user::UserMonth;
use rusqlite::Connection;

use super::codec::{self, RowReader, stored};
use super::days::{Days, MonthKey};
use super::load;
use super::names::Names;
use super::sweep::{Sweep, events, tell};
use crate::store::StoreError;

/// Users' months and days as the operations have them, and which of them the rows are behind.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) sweep: Sweep,
    pub(super) days: Days,
}

impl Behind {
    /// Reads the operations that a row may not have; `last` is the newest.
    pub(super) fn read(connection: &Connection, names: &Names, last: OperationNo) -> Result<Self, StoreError> {
        // Without it every row that is looked up would take and give back the file's lock.
        let snapshot = connection.unchecked_transaction()?;
        let swept =
            load::one(&snapshot, "select value from meta where key = 'swept'", [], |row| RowReader::new(row).number())?;
        // What an older program wrote has them all.
        let swept = swept.unwrap_or(last.0);
        let mut days = Days::default();
        let mut months = read_months(&snapshot, swept, &mut days)?;
        let mut statement = snapshot.prepare("select * from operation where no > ? order by no")?;
        let mut rows = statement.query([stored(swept)])?;
        while let Some(row) = rows.next()? {
            let operation = codec::read_plain_operation(row, names)?;
            let key = (operation.month(), operation.user_no);
            let (month, changed) = months.entry(key).or_insert_with(|| (UserMonth::empty(key.0), false));
            if month.head.is_some_and(|head| head >= operation.no) {
                tell!(events::HAD);
                continue;
            }
            *month = month.clone().counting(&operation).ok_or_else(|| too_large(operation.no))?;
            *changed = true;
            tell!(events::AGAIN);
            days.add_again(&snapshot, &operation, names)?;
        }
        let mut changed = Vec::new();
        for (key, (month, _)) in months.into_iter().filter(|(_, (_, changed))| *changed) {
            days.put_month(key, month);
            changed.push(key);
        }
        Ok(Self { sweep: Sweep::new(swept, changed), days })
    }
}

/// The rows of the months that some operation above `swept` is of, as far as there are such rows, none of them changed. They are
/// read in the order of their keys: in that of the operations each would be on another page than the one before.
fn read_months(
    connection: &Connection,
    swept: u64,
    days: &mut Days,
) -> Result<HashMap<MonthKey, (UserMonth, bool), FixedState>, StoreError> {
    let mut keys: Vec<MonthKey> = Vec::new();
    let mut statement = connection.prepare("select at, user from operation where no > ?")?;
    let mut rows = statement.query([stored(swept)])?;
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        keys.push((row.time()?.month(), UserNo(row.number()?)));
    }
    keys.sort_unstable();
    keys.dedup();
    days.reserve(keys.len());
    let mut months = HashMap::with_capacity_and_hasher(keys.len(), FixedState::default());
    for key in keys {
        months.extend(days.read_month(connection, key)?.map(|month| (key, (month, false))));
    }
    Ok(months)
}

fn too_large(no: OperationNo) -> StoreError {
    StoreError::Corrupt(format!("the sums of the month of operation {} are too large", no.0))
}
