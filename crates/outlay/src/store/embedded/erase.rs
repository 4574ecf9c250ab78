//! Erasure: one durable transaction blanks the row that says who a number was; ids, texts and metadata are wiped after it.

use outlay_core::id::{Name, UserId};
use outlay_core::month::Timestamp;
use outlay_core::plan::Overrides;
use outlay_core::user::User;
use rusqlite::Connection;

use super::codec::{self, RowWriter};
use crate::store::StoreError;

/// Makes a number nobody's, and notes that what names the person is to be wiped.
pub(super) fn blank(
    connection: &Connection,
    user: &User,
    at: Timestamp,
    bytes: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let nobody = User {
        user_id: UserId::from_stored(""),
        plan: None::<Name>,
        email: None,
        overrides: Overrides::default(),
        ..user.clone()
    };
    let mut statement = connection.prepare_cached(codec::REPLACE_USER)?;
    codec::write_user(&mut RowWriter::new(&mut statement, bytes), &nobody)?;
    let mut statement = connection.prepare_cached("insert into erasure values (?, ?, 0, ?)")?;
    let mut row = RowWriter::new(&mut statement, bytes);
    row.number(user.no.0)?.number(user.tag)?.time(at)?.write()?;
    Ok(())
}
