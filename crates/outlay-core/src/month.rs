//! Time as the ledger knows it: instants in UTC and the calendar months that they fall into. Nothing here asks a clock.

use std::fmt;

use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use thiserror::Error;

/// Why a text is not a time or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Not an RFC 3339 time with an offset.
    #[error("must be an RFC 3339 time with an offset, like 2025-10-13T15:52:56Z")]
    NotATime,
    /// In or after the last month that is left out, since nothing can be told of the time after it.
    #[error("must be before 9999-12-01T00:00:00Z")]
    TooLate,
    /// Not a month written `YYYY-MM`.
    #[error("must be a month, like 2025-10")]
    NotAMonth,
    /// A month that is no budget's: before the year 1, or without a month after it.
    #[error("must be a month from 0001-01 to 9999-11")]
    MonthOutOfRange,
    /// Before the year 1 or after the year 9999.
    #[error("must be between the years 0001 and 9999")]
    OutOfRange,
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// An instant, to the nanosecond, from the year 1 to the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// Reads an RFC 3339 time; the offset is required, since a time without one is nobody's. Digits beyond the nanosecond are
    /// cut off.
    ///
    /// # Errors
    /// When the text is no such time, or is in UTC before the year 1, or after November 9999.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        // The date library also reads other forms of ISO 8601; the wire speaks RFC 3339 and nothing else.
        let (seconds, fraction, offset) = rfc_3339(text).ok_or(TimeError::NotATime)?;
        let cut = match fraction.split_at_checked(NANO_DIGITS) {
            Some((nanos, rest)) if !rest.is_empty() => Some(format!("{seconds}.{nanos}{offset}")),
            _ => None,
        };
        let text = cut.as_deref().unwrap_or(text);
        let Ok(instant) = text.parse::<jiff::Timestamp>() else {
            // It may be a time all the same, but beyond what the date library holds.
            let is_late = Pieces::parse(text).is_ok_and(|pieces| pieces.date().year() == 9999);
            return Err(if is_late { TimeError::TooLate } else { TimeError::NotATime });
        };
        let instant = Self(instant).within_range()?;
        if instant.month() > Month::MAX { Err(TimeError::TooLate) } else { Ok(instant) }
    }

    /// The instant `nanos` nanoseconds after the Unix epoch, as the stores keep it.
    ///
    /// # Errors
    /// When it is outside the years 1 to 9999.
    pub fn from_nanos(nanos: i128) -> Result<Self, TimeError> {
        let instant = jiff::Timestamp::from_nanosecond(nanos).map_err(|_| TimeError::OutOfRange)?;
        Self(instant).within_range()
    }

    /// The instant `seconds` seconds after the Unix epoch.
    ///
    /// # Errors
    /// When it is outside the years 1 to 9999.
    pub fn from_seconds(seconds: i64) -> Result<Self, TimeError> {
        Self::from_nanos(i128::from(seconds).saturating_mul(NANOS_PER_SECOND))
    }

    /// Nanoseconds since the Unix epoch.
    pub fn nanos(self) -> i128 {
        self.0.as_nanosecond()
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.nanos().div_euclid(NANOS_PER_SECOND)).unwrap_or(i64::MAX)
    }

    /// This instant and `seconds` more (or less), stopping at the ends of the range.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_nanos(i128::from(seconds).saturating_mul(NANOS_PER_SECOND))
    }

    /// This instant and `nanos` nanoseconds more (or less), stopping at the ends of the range.
    #[must_use]
    pub fn plus_nanos(self, nanos: i128) -> Self {
        let end = if nanos < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self(jiff::Timestamp::from_nanosecond(self.nanos().saturating_add(nanos)).unwrap_or(end))
    }

    /// The UTC calendar month that the instant falls into.
    pub fn month(self) -> Month {
        let date = self.date();
        Month::of(date.year(), date.month())
    }

    /// The UTC calendar day that the instant falls into.
    pub fn day(self) -> Day {
        let date = self.date();
        Day { month: Month::of(date.year(), date.month()), day: date.day().unsigned_abs() }
    }

    fn date(self) -> Date {
        TimeZone::UTC.to_datetime(self.0).date()
    }

    fn within_range(self) -> Result<Self, TimeError> {
        if (1..=9999).contains(&self.date().year()) { Ok(self) } else { Err(TimeError::OutOfRange) }
    }
}

/// Digits of a nanosecond.
const NANO_DIGITS: usize = 9;

/// Takes a text apart that is written as an RFC 3339 time: up to the second, the digits of the fraction, the offset. Whether
/// there is such a day and hour is not looked at.
fn rfc_3339(text: &str) -> Option<(&str, &str, &str)> {
    let (seconds, rest) = text.split_at_checked("2025-10-13T15:52:56".len())?;
    let is_written = seconds.bytes().zip("dddd-dd-ddTdd:dd:dd".bytes()).all(|(byte, wanted)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == wanted,
    });
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
        None => ("", rest),
    };
    let is_empty_fraction = fraction.is_empty() && rest.starts_with('.');
    let is_offset = match offset.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hours @ .., b':', tens, ones] => {
            let hours = matches!(hours, [b'0' | b'1', b'0'..=b'9'] | [b'2', b'0'..=b'3']);
            hours && matches!(tens, b'0'..=b'5') && ones.is_ascii_digit()
        }
        _ => false,
    };
    (is_written && is_offset && !is_empty_fraction).then_some((seconds, fraction, offset))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A UTC calendar month, written `YYYY-MM`; held as months since the year 0, so that they count up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(u32);

impl Month {
    fn of(year: i16, month: i8) -> Self {
        let year = u32::from(year.unsigned_abs());
        Self(year.saturating_mul(12).saturating_add(u32::from(month.unsigned_abs())).saturating_sub(1))
    }

    /// The first month, January of the year 1.
    pub const MIN: Self = Self(12);
    /// The last month that has one after it.
    pub const MAX: Self = Self(9999 * 12 + 10);

    /// Reads `YYYY-MM`.
    ///
    /// # Errors
    /// When the text is anything else, or a month before the year 1 or after [`Month::MAX`].
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let (year, month) = text.split_once('-').ok_or(TimeError::NotAMonth)?;
        let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(TimeError::NotAMonth);
        }
        let year: i16 = year.parse().map_err(|_| TimeError::NotAMonth)?;
        let month: i8 = month.parse().map_err(|_| TimeError::NotAMonth)?;
        if !(1..=12).contains(&month) {
            return Err(TimeError::NotAMonth);
        }
        let parsed = Self::of(year, month);
        if year == 0 || parsed > Self::MAX { Err(TimeError::MonthOutOfRange) } else { Ok(parsed) }
    }

    /// The month with this count of months since the year 0, as the stores keep it.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// Months since the year 0.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The month after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The month before this one; the first month has none.
    pub fn before(self) -> Option<Self> {
        (self > Self::MIN).then(|| self.minus(1))
    }

    /// The month `months` before this one, stopping at the first.
    #[must_use]
    pub const fn minus(self, months: u32) -> Self {
        let index = self.0.saturating_sub(months);
        if index < Self::MIN.0 { Self::MIN } else { Self(index) }
    }

    /// This month and those before it, at most `count` in all, the oldest first.
    pub fn with_before(self, count: u32) -> impl DoubleEndedIterator<Item = Self> {
        (self.minus(count.saturating_sub(1)).0..=self.0).map(Self)
    }

    /// The first instant of the month.
    pub fn start(self) -> Timestamp {
        Day { month: self, day: 1 }.start()
    }

    /// The first instant of the next month: when a new budget begins.
    pub fn resets_at(self) -> Timestamp {
        self.next().start()
    }

    /// How many days the month has.
    pub fn days(self) -> u8 {
        self.first_date().map_or(31, |date| date.days_in_month().unsigned_abs())
    }

    fn first_date(self) -> Option<Date> {
        let year = i16::try_from(self.0.div_euclid(12)).ok()?;
        let month = i8::try_from(self.0.rem_euclid(12).saturating_add(1)).ok()?;
        Date::new(year, month, 1).ok()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12).saturating_add(1))
    }
}

/// A UTC calendar day, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    month: Month,
    day: u8,
}

impl Day {
    /// The day `day` (1 to 31) of a month.
    pub const fn new(month: Month, day: u8) -> Self {
        Self { month, day }
    }

    /// The day with this number, as the stores keep it: months since the year 0, times 32, and the day of the month.
    pub const fn from_index(index: u32) -> Self {
        // The lowest five bits are the remainder of 32.
        let [.., low] = index.to_be_bytes();
        Self { month: Month(index.div_euclid(32)), day: low & 31 }
    }

    /// Months since the year 0, times 32, and the day of the month: it counts up with the days, with gaps.
    pub const fn index(self) -> u32 {
        self.month.0.saturating_mul(32).saturating_add(self.day as u32)
    }

    /// The month that the day is in.
    pub const fn month(self) -> Month {
        self.month
    }

    /// The day of the month, from 1.
    pub const fn day_of_month(self) -> u8 {
        self.day
    }

    /// The first instant of the day.
    pub fn start(self) -> Timestamp {
        let date = self
            .month
            .first_date()
            .and_then(|first| Date::new(first.year(), first.month(), i8::try_from(self.day).ok()?).ok());
        let instant =
            date.and_then(|date| TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok());
        Timestamp(instant.unwrap_or(jiff::Timestamp::MAX))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:02}", self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_month_is_that_of_the_instant_in_utc() {
        assert_eq!(time("2025-10-31T23:59:59.999999999Z").month().to_string(), "2025-10");
        assert_eq!(time("2025-11-01T00:00:00Z").month().to_string(), "2025-11");
        assert_eq!(time("2025-11-01T00:30:00+01:00").month().to_string(), "2025-10");
        assert_eq!(time("2024-02-29T12:00:00Z").day().to_string(), "2024-02-29");
        assert_eq!(time("0001-01-01T00:00:00Z").month().to_string(), "0001-01");
        assert_eq!(Month::parse("2025-12").unwrap().next().to_string(), "2026-01");
        assert_eq!(Month::parse("2025-12").unwrap().resets_at().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(Month::parse("2024-02").unwrap().days(), 29);
    }

    #[test]
    fn a_day_lies_in_its_month_and_stores_keep_both_as_numbers_that_count_up() {
        let month = Month::parse("2025-10").unwrap();
        let day = Day::new(month, 13);
        assert_eq!((month.index(), day.index()), (2025 * 12 + 9, (2025 * 12 + 9) * 32 + 13));
        assert_eq!((Month::from_index(month.index()), Day::from_index(day.index())), (month, day));
        assert_eq!((day.month(), day.day_of_month()), (month, 13));
        assert_eq!(day.start(), time("2025-10-13T00:00:00Z"));
    }

    #[test]
    fn instants_count_from_the_epoch_and_stop_at_the_ends_of_the_range() {
        assert_eq!(time("1970-01-02T00:00:01.5Z").seconds(), 86_401);
        assert_eq!(time("1969-12-31T23:59:58.5Z").seconds(), -2);
        let now = time("2025-10-13T12:00:00Z");
        let (first, last) = (now.plus_seconds(i64::MIN), now.plus_seconds(i64::MAX));
        assert!(first.date().year() < 1 && last.date().year() == 9999, "{first} to {last}");
        assert_eq!((first.plus_nanos(-1), last.plus_nanos(1)), (first, last));
    }

    #[test]
    fn months_stop_at_the_first() {
        let first = Month::parse("0001-01").unwrap();
        assert_eq!((first, first.before(), first.minus(1)), (Month::MIN, None, first));
        assert_eq!(first.next().before(), Some(first));
        assert_eq!(first.next().with_before(6).collect::<Vec<_>>(), [first, first.next()]);
        let shown: Vec<_> = Month::parse("2025-01").unwrap().with_before(3).map(|month| month.to_string()).collect();
        assert_eq!(shown, ["2024-11", "2024-12", "2025-01"]);
        assert_eq!((Month::parse("0001-01"), Month::parse("9999-11")), (Ok(Month::MIN), Ok(Month::MAX)));
    }

    #[test]
    fn only_rfc_3339_with_an_offset_is_read() {
        for text in [
            "2025-10-13",
            "2025-10-13T15:52:56",
            "20251013T155256Z",
            "2025-10-13T15:52Z",
            "2025-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2025-10-13T15:52:56+0100",
            "2025-10-13T15:52:56Z[Europe/Berlin]",
            "now",
            "",
            "-002025-10-13T15:52:56Z",
            "2025-10-13T25:00:00Z",
            "2025-10-13T15:52:56+24:00",
            "2025-10-13T15:52:56+01:60",
            "2025-10-13T15:52:56+1:00",
            "2025-10-13T15:52:56,5Z",
            "2025-10-13T15:52:56.Z",
            "2025-10-13T15:52:56.5",
            "2025-10-13T15:52:56.5é",
            "2025-10-13T15:52:5éZ",
            "9999-13-31T23:59:59Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimeError::NotATime), "{text}");
        }
        for text in ["9999-12-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999999-23:59"] {
            assert_eq!(Timestamp::parse(text), Err(TimeError::TooLate), "{text}");
        }
        let last = time("9999-11-30T23:59:59.999999999Z");
        assert!(last < last.month().resets_at() && last.month() == Month::MAX);
        for text in ["9999-12", "0000-01"] {
            assert_eq!(Month::parse(text), Err(TimeError::MonthOutOfRange), "{text}");
        }
        assert!(Timestamp::parse("0000-12-31T23:59:59Z").is_err());
        for text in ["2025-1", "2025-00", "2025-13", "0000-01", "25-10", "2025-10-01", "２０２５-10"] {
            assert!(Month::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn digits_beyond_the_nanosecond_are_cut_off() {
        for (text, same) in [
            ("2025-10-13T15:52:56.1234567899Z", "2025-10-13T15:52:56.123456789Z"),
            ("2025-10-13T15:52:56.123456789999999999999999999+01:00", "2025-10-13T14:52:56.123456789Z"),
            ("2025-10-13t15:52:56.5z", "2025-10-13T15:52:56.5Z"),
            ("2025-10-13 15:52:56+23:59", "2025-10-12T15:53:56Z"),
        ] {
            assert_eq!(time(text), time(same), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_day_and_its_month_begin_at_midnight(seconds in -62_135_596_800_i64..253_399_622_400) {
            let instant = Timestamp::from_seconds(seconds).unwrap();
            let day = instant.day();
            proptest::prop_assert!(day.start() <= instant && instant < day.start().plus_seconds(86_400));
            proptest::prop_assert_eq!(day.start().seconds().rem_euclid(86_400), 0);
            proptest::prop_assert_eq!(Day::from_index(day.index()), day);
            proptest::prop_assert_eq!(Month::parse(&instant.month().to_string()), Ok(instant.month()));
            proptest::prop_assert!(instant.month().start() <= instant && instant < instant.month().resets_at());
            proptest::prop_assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }
    }
}
