//! Columns of many rows on their way into a statement, and columns of one row on their way out.
//!
//! Rows go in as arrays, which `unnest` makes rows of again: one statement, however many rows. An array is of a column, or
//! of whole rows of a type that the migrations make. The latter costs the server a tenth: it takes the rows as they are,
//! and need not put each of twenty lists aside first.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::plan::{Amounts, Meter};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use xxhash_rust::xxh3::xxh3_64;

use super::wide::Wide;
use crate::store::StoreError;

/// A row that cannot be what it should be.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} has a value that no version of Outlay writes"))
}

/// A number as PostgreSQL keeps it. Numbers of rows never reach the sign; others come back as they went.
pub(super) const fn stored(number: u64) -> i64 {
    number.cast_signed()
}

#[derive(Debug)]
enum Column<'a> {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<Cow<'a, str>>>),
    Bytes(Vec<Option<&'a [u8]>>),
    Wide(Vec<Option<Wide>>),
}

/// Rows for one statement. Every row has the same columns in the same order.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    columns: Vec<Column<'a>>,
    place: usize,
    count: usize,
    /// The columns of the row that is being written, for its sum.
    bytes: Vec<u8>,
}

macro_rules! push {
    ($self:ident, $kind:ident, $value:expr) => {{
        let value = $value;
        match $self.columns.get_mut($self.place) {
            Some(Column::$kind(column)) => column.push(value),
            // The first row makes the columns.
            _ => {
                debug_assert_eq!($self.count, 0, "every row has the same columns");
                $self.columns.push(Column::$kind(vec![value]));
            }
        }
        $self.place += 1;
        $self
    }};
}

impl<'a> Rows<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An array for each column.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            parameters.push(match column {
                Column::Int(values) => values,
                Column::Text(values) => values,
                Column::Bytes(values) => values,
                Column::Wide(values) => values,
            });
        }
        parameters
    }

    /// One array of rows of the database's type with this number.
    pub(super) fn records(&self, row_type: u32) -> Records<'_> {
        Records { rows: self, row_type }
    }

    pub(super) fn int(&mut self, value: impl Into<Option<i64>>) -> &mut Self {
        let value = value.into();
        match value {
            None => self.bytes.push(0),
            Some(number) => {
                self.bytes.push(1);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        push!(self, Int, value)
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        self.int(stored(value))
    }

    pub(super) fn optional_number(&mut self, value: Option<u64>) -> &mut Self {
        self.int(value.map(stored))
    }

    pub(super) fn text(&mut self, value: Option<&'a str>) -> &mut Self {
        self.cow(value.map(Cow::Borrowed))
    }

    pub(super) fn made(&mut self, value: Option<String>) -> &mut Self {
        self.cow(value.map(Cow::Owned))
    }

    fn cow(&mut self, value: Option<Cow<'a, str>>) -> &mut Self {
        add_bytes(&mut self.bytes, 3, value.as_deref().map(str::as_bytes));
        push!(self, Text, value)
    }

    pub(super) fn blob(&mut self, value: &'a [u8]) -> &mut Self {
        add_bytes(&mut self.bytes, 4, Some(value));
        push!(self, Bytes, Some(value))
    }

    pub(super) fn wide(&mut self, value: i128) -> &mut Self {
        add_bytes(&mut self.bytes, 5, Some(&value.to_le_bytes()));
        push!(self, Wide, Some(Wide(value)))
    }

    /// A time of the server's clock.
    pub(super) fn time(&mut self, value: impl Into<Option<Timestamp>>) -> &mut Self {
        self.int(value.into().map(nanos))
    }

    pub(super) fn amounts(&mut self, amounts: Option<&Amounts>) -> &mut Self {
        for meter in Meter::ALL {
            self.int(amounts.map(|amounts| *amounts.get(meter)));
        }
        self
    }

    /// Ends a row.
    pub(super) fn end(&mut self) {
        self.bytes.clear();
        self.place = 0;
        self.count += 1;
    }

    /// Ends a row with the sum over its other columns.
    pub(super) fn end_with_sum(&mut self) {
        let sum = xxh3_64(&self.bytes).cast_signed();
        self.int(sum);
        self.end();
    }
}

/// Rows as one parameter.
#[derive(Debug)]
pub(super) struct Records<'r> {
    rows: &'r Rows<'r>,
    row_type: u32,
}

impl ToSql for Records<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // One dimension, no row that is null, and places that begin with 1.
        for number in [1, 0, self.row_type, u32::try_from(self.rows.count)?, 1] {
            out.put_u32(number);
        }
        for row in 0..self.rows.count {
            let at = out.len();
            out.put_u32(0);
            out.put_u32(u32::try_from(self.rows.columns.len())?);
            for column in &self.rows.columns {
                column.write(row, out)?;
            }
            write_length(out, at)?;
        }
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        // Of a statement that is not prepared the server finds out itself.
        matches!(of.kind(), tokio_postgres::types::Kind::Array(_)) || *of == Type::UNKNOWN
    }

    to_sql_checked!();
}

impl Column<'_> {
    /// Writes the value of a row: its type, its length, itself.
    fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), Box<dyn std::error::Error + Sync + Send>> {
        fn of<T>(column: &[Option<T>], row: usize) -> Option<&T> {
            column.get(row).and_then(Option::as_ref)
        }
        let (of_type, value): (_, Option<&(dyn ToSql + Sync)>) = match self {
            Self::Int(column) => (Type::INT8, of(column, row).map(|value| value as _)),
            Self::Text(column) => (Type::TEXT, of(column, row).map(|value| value as _)),
            Self::Bytes(column) => (Type::BYTEA, of(column, row).map(|value| value as _)),
            Self::Wide(column) => (Type::NUMERIC, of(column, row).map(|value| value as _)),
        };
        out.put_u32(of_type.oid());
        let at = out.len();
        out.put_i32(-1);
        if let Some(value) = value {
            value.to_sql_checked(&of_type, out)?;
            write_length(out, at)?;
        }
        Ok(())
    }
}

/// Writes how many bytes there are after the length itself.
fn write_length(out: &mut BytesMut, at: usize) -> Result<(), Box<dyn std::error::Error + Sync + Send>> {
    let length = i32::try_from(out.len() - at - 4)?;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn add_bytes(bytes: &mut Vec<u8>, tag: u8, value: Option<&[u8]>) {
    match value {
        None => bytes.push(0),
        Some(value) => {
            bytes.push(tag);
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

/// A column of any type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'r> {
    Int(Option<i64>),
    Text(Option<&'r str>),
    Bytes(Option<&'r [u8]>),
    Wide(Option<i128>),
}

impl Value<'_> {
    /// Adds it to what a row's sum is over.
    pub(super) fn add_to(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) | Self::Wide(None) => bytes.push(0),
            Self::Int(Some(value)) => {
                bytes.push(1);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Self::Text(Some(value)) => add_bytes(bytes, 3, Some(value.as_bytes())),
            Self::Bytes(Some(value)) => add_bytes(bytes, 4, Some(value)),
            Self::Wide(Some(value)) => add_bytes(bytes, 5, Some(&value.to_le_bytes())),
        }
    }
}

/// A time of the server's clock in nanoseconds, which 64 bits hold until 2262.
pub(super) fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.nanos()).unwrap_or(i64::MAX)
}

/// A time from its nanoseconds.
pub(super) fn time(nanos: i128) -> Result<Timestamp, StoreError> {
    Timestamp::from_nanos(nanos).map_err(|_| damaged("a time column"))
}

/// A value that is only asked whether it is there.
struct Null;

impl<'a> FromSql<'a> for Null {
    fn from_sql(_: &Type, _: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads the columns of one row from the first on, and sums them up on the way.
pub(super) struct RowReader<'r> {
    row: &'r Row,
    column: usize,
    bytes: Option<Vec<u8>>,
}

impl<'r> RowReader<'r> {
    pub(super) fn new(row: &'r Row) -> Self {
        Self { row, column: 0, bytes: None }
    }

    /// One that compares the row with its sum at the end.
    pub(super) fn summed(row: &'r Row) -> Self {
        Self { bytes: Some(Vec::new()), ..Self::new(row) }
    }

    /// Whether the next column is null.
    pub(super) fn is_null(&self) -> bool {
        let value = self.row.try_get::<_, Option<Null>>(self.column);
        matches!(value, Ok(None))
    }

    fn get<T: FromSql<'r>>(&mut self) -> Result<T, StoreError> {
        let value = self.row.try_get(self.column).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.column += 1;
        Ok(value)
    }

    pub(super) fn int(&mut self) -> Result<Option<i64>, StoreError> {
        let of = self.row.columns().get(self.column).map(|column| column.type_().clone());
        let value = match of {
            Some(Type::INT4) => self.get::<Option<i32>>()?.map(i64::from),
            Some(Type::INT2) => self.get::<Option<i16>>()?.map(i64::from),
            _ => self.get()?,
        };
        if let Some(bytes) = &mut self.bytes {
            match value {
                None => bytes.push(0),
                Some(number) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        Ok(value)
    }

    /// The next column, whose type is this; it is no part of the reader's own sum.
    pub(super) fn value(&mut self, of: &str) -> Result<Value<'r>, StoreError> {
        Ok(match of {
            "text" => Value::Text(self.get()?),
            "bytea" => Value::Bytes(self.get()?),
            "numeric" => Value::Wide(self.get::<Option<Wide>>()?.map(|Wide(value)| value)),
            _ => Value::Int(self.int()?),
        })
    }

    /// Passes over columns.
    pub(super) fn skip(&mut self, columns: usize) {
        self.column += columns;
    }

    pub(super) fn required(&mut self) -> Result<i64, StoreError> {
        self.int()?.ok_or_else(|| damaged("a required column"))
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        Ok(self.required()?.cast_unsigned())
    }

    pub(super) fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        Ok(self.int()?.map(i64::cast_unsigned))
    }

    pub(super) fn text(&mut self) -> Result<Option<&'r str>, StoreError> {
        let value: Option<&'r str> = self.get()?;
        if let Some(bytes) = &mut self.bytes {
            add_bytes(bytes, 3, value.map(str::as_bytes));
        }
        Ok(value)
    }

    pub(super) fn required_text(&mut self) -> Result<&'r str, StoreError> {
        self.text()?.ok_or_else(|| damaged("a required text column"))
    }

    pub(super) fn blob<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let value: &'r [u8] = self.get()?;
        if let Some(bytes) = &mut self.bytes {
            add_bytes(bytes, 4, Some(value));
        }
        value.try_into().map_err(|_| damaged("a column of bytes"))
    }

    pub(super) fn ints(&mut self) -> Result<Vec<i64>, StoreError> {
        self.get()
    }

    /// Bytes of any number.
    pub(super) fn bytes(&mut self) -> Result<&'r [u8], StoreError> {
        self.get()
    }

    pub(super) fn wide(&mut self) -> Result<i128, StoreError> {
        let Wide(value) = self.get()?;
        if let Some(bytes) = &mut self.bytes {
            add_bytes(bytes, 5, Some(&value.to_le_bytes()));
        }
        Ok(value)
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.int()?.map(|nanos| time(nanos.into())).transpose()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.optional_time()?.ok_or_else(|| damaged("a required time column"))
    }

    pub(super) fn month(&mut self) -> Result<Month, StoreError> {
        u32::try_from(self.required()?).map(Month::from_index).map_err(|_| damaged("a month column"))
    }

    pub(super) fn day(&mut self) -> Result<Day, StoreError> {
        u32::try_from(self.required()?).map(Day::from_index).map_err(|_| damaged("a day column"))
    }

    pub(super) fn amounts(&mut self) -> Result<Amounts, StoreError> {
        Ok(Amounts {
            cost: self.int()?.unwrap_or(0),
            ai_runs: self.int()?.unwrap_or(0),
            api_runs: self.int()?.unwrap_or(0),
        })
    }

    /// Reads the sum over the columns before it; gives what it should be and what it is.
    pub(super) fn sums(&mut self) -> Result<(i64, i64), StoreError> {
        let bytes = self.bytes.take().unwrap_or_default();
        Ok((xxh3_64(&bytes).cast_signed(), self.required()?))
    }
}
