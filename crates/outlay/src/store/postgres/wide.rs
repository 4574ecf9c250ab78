//! Integers of up to 38 digits, as PostgreSQL's `numeric` takes and gives them.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A `numeric` without decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wide(pub(super) i128);

/// A `numeric` is digits of four decimal places each.
const BASE: u128 = 10_000;
const NEGATIVE: u16 = 0x4000;

impl ToSql for Wide {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let mut digits = Vec::new();
        let mut rest = self.0.unsigned_abs();
        while rest > 0 {
            digits.push(u16::try_from(rest % BASE)?);
            rest /= BASE;
        }
        let count = u16::try_from(digits.len())?;
        out.put_u16(count);
        // The power of the base that the first digit stands for.
        out.put_u16(count.saturating_sub(1));
        out.put_u16(if self.0 < 0 { NEGATIVE } else { 0 });
        out.put_u16(0);
        digits.iter().rev().for_each(|digit| out.put_u16(*digit));
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Wide {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let short = || Box::<dyn Error + Sync + Send>::from("a numeric is cut short");
        let mut words = raw.chunks_exact(2).map(|pair| match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        let mut next = || words.next().ok_or_else(short);
        let (count, weight, sign, _scale) = (next()?, next()?, next()?, next()?);
        if sign != 0 && sign != NEGATIVE {
            return Err("a numeric is no number".into());
        }
        let mut value: i128 = 0;
        let beyond = || Box::<dyn Error + Sync + Send>::from("a numeric is beyond 38 digits");
        let push = |value: i128, digit: u16| {
            value.checked_mul(10_000).and_then(|value| value.checked_add(digit.into())).ok_or_else(beyond)
        };
        for _ in 0..count {
            value = push(value, next()?)?;
        }
        // Zeros at the end are left out; a digit after the point would be a fraction.
        if count > 0 {
            let left_out = i32::from(weight.cast_signed()) + 1 - i32::from(count);
            if left_out < 0 {
                return Err("a numeric has a fraction".into());
            }
            for _ in 0..left_out {
                value = push(value, 0)?;
            }
        }
        Ok(Self(if sign == NEGATIVE { -value } else { value }))
    }

    accepts!(NUMERIC);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let max = 10_i128.pow(38) - 1;
        for value in [0, 1, -1, 9_999, 10_000, 10_001, -100_000_000, 123_456_789_012_345_678, max, -max] {
            let mut bytes = BytesMut::new();
            Wide(value).to_sql(&Type::NUMERIC, &mut bytes).unwrap();
            assert_eq!(Wide::from_sql(&Type::NUMERIC, &bytes).unwrap(), Wide(value));
        }
        // 10,000 as the server sends it: one digit, and a zero left out.
        assert_eq!(Wide::from_sql(&Type::NUMERIC, &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]).unwrap(), Wide(10_000));
        assert!(Wide::from_sql(&Type::NUMERIC, &[0, 1, 0xff, 0xff, 0, 0, 0, 1, 0x13, 0x88]).is_err(), "0.5");
        assert!(Wide::from_sql(&Type::NUMERIC, &[0, 1]).is_err());
    }
}
