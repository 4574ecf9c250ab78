//! Exact money and quantities: decimal text in, integers inside, decimal text out. No binary floating point anywhere.

use std::fmt;

use thiserror::Error;

/// Decimals that are kept: a picodollar is 10^-12 USD.
const DECIMALS: u32 = 12;
/// Picodollars in one USD.
pub const PICOS_PER_USD: i64 = 1_000_000_000_000;
/// Longest number that is read, in characters. A float written out to its last binary digit, as some decimal types do, has
/// some 50 to 150; more than this is a mistake or an attack, and would only cost time.
const TEXT_MAX: usize = 400;
/// Largest exponent that is read.
const EXPONENT_MAX: i32 = 40;
/// Smallest exponent that is read: below that of every float, so that noise of any size is rounded and never refused.
const EXPONENT_MIN: i32 = -400;

/// Why a text is not a decimal number that Outlay accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// The text is not a JSON number, like `1.50` or `2e-7`.
    #[error("must be a decimal number, like 0.00010785")]
    NotANumber,
    /// More than 400 characters, or an exponent above 40 or below -400.
    #[error("must have at most 400 characters and an exponent from -400 to 40")]
    TooLong,
    /// Below zero where only zero and more make sense.
    #[error("must not be negative")]
    Negative,
    /// Above the largest value of this field.
    #[error("must be at most {max}")]
    TooLarge {
        /// The largest value, in whole units.
        max: i64,
    },
}

/// An amount of money in picodollars (10^-12 USD); the range is that of `i64`, about 9.2 million USD either way.
///
/// ```
/// # use outlay_core::money::Usd;
/// let scan: Usd = Usd::parse("0.0015").unwrap();
/// assert_eq!(scan.picos(), 1_500_000_000);
/// assert_eq!(Usd::parse("0.30000000000000004").unwrap().to_string(), "0.3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i64);

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// The most that one operation may cost and one estimate may ask for: 1,000,000 USD.
    pub const AMOUNT_MAX: Self = Self(1_000_000 * PICOS_PER_USD);
    /// The highest limit, and the most that a user's month may have used or held: 9,000,000 USD.
    pub const TOTAL_MAX: Self = Self(9_000_000 * PICOS_PER_USD);

    /// The amount of `picos` picodollars.
    pub const fn from_picos(picos: i64) -> Self {
        Self(picos)
    }

    /// The amount in picodollars.
    pub const fn picos(self) -> i64 {
        self.0
    }

    /// Reads a cost or an estimate: zero to 1,000,000 USD.
    ///
    /// # Errors
    /// When the text is not a decimal, is negative, or is above 1,000,000.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        Self::parse_up_to(text, Self::AMOUNT_MAX)
    }

    /// Reads a limit: zero to 9,000,000 USD.
    ///
    /// # Errors
    /// When the text is not a decimal, is negative, or is above 9,000,000.
    pub fn parse_limit(text: &str) -> Result<Self, DecimalError> {
        Self::parse_up_to(text, Self::TOTAL_MAX)
    }

    fn parse_up_to(text: &str, max: Self) -> Result<Self, DecimalError> {
        let too_large = DecimalError::TooLarge { max: max.0 / PICOS_PER_USD };
        let picos = parse_picos(text)?.ok_or(too_large)?;
        if picos < 0 {
            return Err(DecimalError::Negative);
        }
        let amount = Self(i64::try_from(picos).map_err(|_| too_large)?);
        if amount > max { Err(too_large) } else { Ok(amount) }
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_picos(i128::from(self.0), formatter)
    }
}

/// A sum of money over users or over a session's life, in picodollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UsdSum(i128);

impl UsdSum {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// The sum of `picos` picodollars.
    pub const fn from_picos(picos: i128) -> Self {
        Self(picos)
    }

    /// The sum in picodollars.
    pub const fn picos(self) -> i128 {
        self.0
    }

    /// This sum and `amount`. An `i128` holds 10^19 amounts of the largest size, so it cannot overflow in practice;
    /// if it did, it would stop at the end of the range and `verify` would say so.
    #[must_use]
    pub const fn plus(self, amount: Usd) -> Self {
        Self(self.0.saturating_add(amount.0 as i128))
    }

    /// Both sums together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The mean over `count`, rounded half to even at a picodollar; none over nothing.
    pub fn mean(self, count: u64) -> Option<Self> {
        (count > 0).then(|| Self(divide_half_even(self.0, i128::from(count))))
    }
}

impl fmt::Display for UsdSum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_picos(self.0, formatter)
    }
}

impl From<Usd> for UsdSum {
    fn from(amount: Usd) -> Self {
        Self(i128::from(amount.0))
    }
}

/// A quantity of something that is priced by the unit, such as 12.5 seconds: exact to 12 decimals, at most 10^12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(i128);

impl Quantity {
    /// The most that there can be of it.
    pub const MAX: i64 = 1_000_000_000_000;

    /// The quantity of `picos` trillionths.
    pub const fn from_picos(picos: i128) -> Self {
        Self(picos)
    }

    /// The quantity in trillionths.
    pub const fn picos(self) -> i128 {
        self.0
    }

    /// Reads a quantity from zero to 10^12.
    ///
    /// # Errors
    /// When the text is not a decimal, is negative, or is above 10^12.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let too_large = DecimalError::TooLarge { max: Self::MAX };
        let picos = parse_picos(text)?.ok_or(too_large)?;
        if picos < 0 {
            return Err(DecimalError::Negative);
        }
        if picos > i128::from(Self::MAX).saturating_mul(i128::from(PICOS_PER_USD)) {
            return Err(too_large);
        }
        Ok(Self(picos))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_picos(self.0, formatter)
    }
}

/// `numerator / denominator`, rounded half to even. The denominator is above zero.
pub fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    // Nearly all fit into half the width, where dividing is far quicker.
    if let (Ok(numerator), Ok(denominator)) = (i64::try_from(numerator), i64::try_from(denominator)) {
        let (quotient, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
        let up = rounds_up(quotient.rem_euclid(2) == 1, &rest, &denominator.saturating_sub(rest));
        return i128::from(quotient).saturating_add(i128::from(up));
    }
    let (quotient, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    let up = rounds_up(quotient.rem_euclid(2) == 1, &rest, &denominator.saturating_sub(rest));
    quotient.saturating_add(i128::from(up))
}

/// Whether a quotient with this rest, and this much to the next one, goes up to it.
fn rounds_up<T: Ord>(quotient_is_odd: bool, rest: &T, to_next: &T) -> bool {
    match rest.cmp(to_next) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient_is_odd,
    }
}

/// Reads the grammar of a JSON number into trillionths, rounded half to even; `None` when it is beyond `i128`.
fn parse_picos(text: &str) -> Result<Option<i128>, DecimalError> {
    let is_too_long = text.len() > TEXT_MAX;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(DecimalError::NotANumber),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
        return Err(DecimalError::NotANumber);
    }
    if is_too_long {
        return Err(DecimalError::TooLong);
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let next = digits.checked_mul(10).and_then(|tens| tens.checked_add(i128::from(byte.saturating_sub(b'0'))));
        match next {
            Some(next) => digits = next,
            None => return Ok(overflowing_digits(whole, fraction, exponent, negative)),
        }
    }
    Ok(scale(digits, exponent, fraction.len()).map(|picos| if negative { picos.saturating_neg() } else { picos }))
}

/// More digits than `i128` holds: of those that count, the ones beyond the 30th lie below a picodollar of every accepted
/// value, so they only decide whether it is rounded up. One digit stands for them all, which keeps half-to-even exact.
fn overflowing_digits(whole: &str, fraction: &str, exponent: i32, negative: bool) -> Option<i128> {
    const KEPT: u32 = 30;
    let mut digits: i128 = 0;
    let mut kept: u32 = 0;
    let mut sticky = false;
    let mut dropped: i32 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = i128::from(byte.saturating_sub(b'0'));
        if kept < KEPT {
            digits = digits.saturating_mul(10).saturating_add(digit);
            // Zeros in front only say where the others are.
            kept = kept.saturating_add(u32::from(digits != 0));
        } else {
            sticky |= digit != 0;
            dropped = dropped.saturating_add(1);
        }
    }
    digits = digits.saturating_mul(10).saturating_add(i128::from(sticky));
    let exponent = exponent.saturating_add(dropped.saturating_sub(1));
    scale(digits, exponent, fraction.len()).map(|picos| if negative { picos.saturating_neg() } else { picos })
}

/// `digits * 10^(exponent - fraction_digits)` in trillionths; `None` beyond `i128`.
fn scale(digits: i128, exponent: i32, fraction_digits: usize) -> Option<i128> {
    if digits == 0 {
        return Some(0);
    }
    let fraction_digits = i32::try_from(fraction_digits).ok()?;
    let shift = exponent.checked_sub(fraction_digits)?.checked_add(i32::try_from(DECIMALS).ok()?)?;
    if shift >= 0 {
        10_i128.checked_pow(shift.unsigned_abs())?.checked_mul(digits)
    } else {
        // A divisor beyond `i128` is more than twice any dividend here: the result rounds to zero.
        Some(10_i128.checked_pow(shift.unsigned_abs()).map_or(0, |divisor| divide_half_even(digits, divisor)))
    }
}

fn parse_exponent(text: &str) -> Result<i32, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    let exponent: i32 = text.parse().map_err(|_| DecimalError::TooLong)?;
    if (EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) { Ok(exponent) } else { Err(DecimalError::TooLong) }
}

fn write_picos(picos: i128, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = PICOS_PER_USD.unsigned_abs();
    let magnitude = picos.unsigned_abs();
    if picos < 0 {
        formatter.write_str("-")?;
    }
    let whole = magnitude.div_euclid(u128::from(unit));
    let fraction = magnitude.rem_euclid(u128::from(unit));
    if fraction == 0 {
        return write!(formatter, "{whole}");
    }
    // The digits from the last one that is not zero to the point, without a string between.
    let (mut shown, mut decimals) = (u64::try_from(fraction).unwrap_or(u64::MAX), 12_usize);
    while shown.is_multiple_of(10) {
        shown = shown.div_euclid(10);
        decimals = decimals.saturating_sub(1);
    }
    write!(formatter, "{whole}.{shown:0decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(Usd::parse(text).map(|usd| usd.to_string()), Ok(expect.to_owned()), "{text}");
    }

    #[test]
    fn division_is_half_to_even_at_every_width() {
        let edges = [0, 1, 2, 3, 5, 10_000, i128::from(i64::MAX), i128::from(i64::MAX) + 1, 1 << 100];
        for denominator in edges.into_iter().filter(|edge| *edge > 0) {
            for numerator in edges.into_iter().flat_map(|edge| [edge - 1, edge, -edge, edge * 5 - denominator]) {
                let quotient = divide_half_even(numerator, denominator);
                let twice_off = (quotient * denominator - numerator).abs() * 2;
                assert!(twice_off <= denominator, "{numerator} / {denominator} = {quotient}");
                assert!(twice_off < denominator || quotient % 2 == 0, "{numerator} / {denominator} = {quotient}");
            }
        }
    }

    #[test]
    fn reads_exact_text_and_writes_it_back() {
        check("0", "0");
        check("-0", "0");
        check("0.00010785", "0.00010785");
        check("3.00", "3");
        check("2e-7", "0.0000002");
        check("1E3", "1000");
        check("1.5e+2", "150");
        check("1000000", "1000000");
        check("0.000000000001", "0.000000000001");
        check("1e-40", "0");
        check("5e-324", "0");
        check("9999999999999999999999999999999999999999e-400", "0");
        check("0.0000000000000000000000000000000000001e37", "1");
    }

    #[test]
    fn rounds_half_to_even_beyond_twelve_decimals() {
        check("0.30000000000000004", "0.3");
        check("0.0000000000005", "0");
        check("0.0000000000015", "0.000000000002");
        check("0.0000000000025", "0.000000000002");
        check("0.00000000000250000000000001", "0.000000000003");
        check("0.123456789012500000000000000000000000001", "0.123456789013");
        check("0.123456789012500000000000000000000000000", "0.123456789012");
        // What a decimal type makes of floats, to the last binary digit.
        check("0.1000000000000000055511151231257827021181583404541015625", "0.1");
        check("0.00010785000000000000263400090718306512826529797166585922241210937500", "0.00010785");
        check("1.000000000000000062e-20", "0");
        // The tail alone decides, however far away it is, and whatever zeros stand before the first digit.
        let zeros = "0".repeat(300);
        check(&format!("0.0000000000005{zeros}"), "0");
        check(&format!("0.0000000000005{zeros}1"), "0.000000000001");
        check(&format!("0.0000000000015{zeros}"), "0.000000000002");
        check(&format!("0.{}4999999999999999999999999999999999999999e40", "0".repeat(52)), "0");
        check(&format!("0.{}5000000000000000000000000000000000000001e40", "0".repeat(52)), "0.000000000001");
    }

    #[test]
    fn refuses_what_is_not_a_decimal() {
        for text in [
            "", "-", ".5", "5.", "01", "1e", "1e+", "0x10", "NaN", "Infinity", "1 ", " 1", "+1", "1_000", "1,5", "٣",
            "1e1.5",
        ] {
            assert_eq!(Usd::parse(text), Err(DecimalError::NotANumber), "{text:?}");
        }
        for text in ["1e41", "1e-401", "1e999999999999", &"1".repeat(401), &format!("0.{}", "0".repeat(399))] {
            assert_eq!(Usd::parse(text), Err(DecimalError::TooLong), "{text:?}");
        }
        let too_large = Err(DecimalError::TooLarge { max: 1_000_000 });
        for text in [
            "1000000.000000000001",
            "1e40",
            &"9".repeat(40),
            &"9".repeat(400),
            "1000000.00000000000050000000000000000000",
        ] {
            let rounded_away = text.ends_with("50000000000000000000");
            assert_eq!(Usd::parse(text), if rounded_away { Ok(Usd::AMOUNT_MAX) } else { too_large }, "{text:?}");
        }
        assert_eq!(Usd::parse("-0.1"), Err(DecimalError::Negative));
        assert_eq!(Usd::parse_limit("9000000").unwrap(), Usd::TOTAL_MAX);
        assert!(Usd::parse_limit("9000000.1").is_err());
    }

    #[test]
    fn a_quantity_is_exact_to_twelve_decimals_and_at_most_a_trillion() {
        for (text, picos) in [("0", 0), ("-0", 0), ("12.5", 12_500_000_000_000), ("1e12", 10_i128.pow(24))] {
            assert_eq!(Quantity::parse(text).map(Quantity::picos), Ok(picos), "{text}");
        }
        assert_eq!(Quantity::from_picos(12_500_000_000_000).to_string(), "12.5");
        let too_large = DecimalError::TooLarge { max: Quantity::MAX };
        for (text, error) in [
            ("1000000000000.000000000001", too_large),
            ("1e40", too_large),
            ("-1e-12", DecimalError::Negative),
            ("twelve", DecimalError::NotANumber),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn writes_negative_and_large_sums() {
        assert_eq!(Usd::from_picos(-1_500_000_000).to_string(), "-0.0015");
        assert_eq!(UsdSum::from_picos(i128::MIN).to_string(), "-170141183460469231731687303.715884105728");
        assert_eq!(UsdSum::from_picos(10).mean(4), Some(UsdSum::from_picos(2)));
        assert_eq!(UsdSum::ZERO.mean(0), None);
    }

    proptest::proptest! {
        #[test]
        fn every_amount_reads_back_as_itself(picos in 0..=Usd::AMOUNT_MAX.picos()) {
            let amount = Usd::from_picos(picos);
            proptest::prop_assert_eq!(Usd::parse(&amount.to_string()), Ok(amount));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Usd::parse(&text);
        }
    }
}
