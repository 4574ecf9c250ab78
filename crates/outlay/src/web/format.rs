//! Figures and times as people read them. Nothing here rounds what is stored: the exact figure is beside it or in `title`.

use outlay_core::alert::Thresholds;
use outlay_core::money::{Usd, UsdSum, divide_half_even};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::UsageType;
use outlay_core::plan::{Limit, Meter};

use crate::sums::Against;

/// Picodollars in a cent.
const PICOS_PER_CENT: i128 = 10_000_000_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Percentages at which alerts are raised, like `80%, 95%, 100%`.
pub fn thresholds(thresholds: Thresholds) -> String {
    let percentages: Vec<String> = thresholds.iter().map(|percentage| format!("{percentage}%")).collect();
    if percentages.is_empty() { "none".to_owned() } else { percentages.join(", ") }
}

/// Money in cents, like `$1,234.56`; what is no whole cent but not nothing is `<$0.01`.
pub fn usd(amount: UsdSum) -> String {
    let cents = divide_half_even(amount.picos(), PICOS_PER_CENT);
    if cents == 0 && amount.picos() > 0 {
        return "<$0.01".to_owned();
    }
    let sign = if cents < 0 { "−" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}${}.{:02}", grouped(cents / 100), cents % 100)
}

/// Money that is not known to the cent: from a hundred dollars on without cents, like `$412`.
pub fn usd_about(amount: UsdSum) -> String {
    if amount.picos() < 100 * 100 * PICOS_PER_CENT {
        return usd(amount);
    }
    format!("${}", grouped(divide_half_even(amount.picos(), 100 * PICOS_PER_CENT).unsigned_abs()))
}

/// Small money with five decimals, like `$0.00336`; from a dollar on in cents.
pub fn usd_fine(amount: UsdSum) -> String {
    let parts = divide_half_even(amount.picos(), PICOS_PER_CENT / 1_000);
    let size = parts.unsigned_abs();
    if size >= 100_000 || amount.picos() == 0 {
        return usd(amount);
    }
    if parts == 0 {
        return "<$0.00001".to_owned();
    }
    let sign = if parts < 0 { "−" } else { "" };
    format!("{sign}$0.{size:05}")
}

/// Money to the last decimal, like `$0.00160785`.
pub fn usd_exact(amount: UsdSum) -> String {
    let text = amount.to_string();
    match text.strip_prefix('-') {
        Some(rest) => format!("−${rest}"),
        None => format!("${text}"),
    }
}

/// A whole number with its thousands apart, like `1,204`.
pub fn count(number: i128) -> String {
    let sign = if number < 0 { "−" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount of a meter in words that fit its unit.
pub fn amount(meter: Meter, amount: i64) -> String {
    match meter {
        Meter::Cost => usd(Usd::from_picos(amount).into()),
        Meter::AiRuns | Meter::ApiRuns => count(amount.into()),
    }
}

/// `1 AI run`, `2 API runs`.
pub fn runs(of: Meter, runs: i64) -> String {
    let name = meter(of);
    format!("{} {}", count(runs.into()), if runs == 1 { name.trim_end_matches('s') } else { name })
}

/// A limit, in words where it is none or allows nothing.
pub fn limit(meter: Meter, limit: Limit) -> String {
    match limit {
        None => "Unlimited".to_owned(),
        Some(0) => "Not included".to_owned(),
        Some(limit) => amount(meter, limit),
    }
}

/// What operators call a meter; end users see the configured labels.
pub const fn meter(meter: Meter) -> &'static str {
    match meter {
        Meter::Cost => "Cost",
        Meter::AiRuns => "AI runs",
        Meter::ApiRuns => "API runs",
    }
}

/// What kind of operation it is.
pub const fn usage_type(of: UsageType) -> &'static str {
    match of {
        UsageType::Ai => "AI",
        UsageType::Api => "API",
    }
}

/// `part` of `whole` in whole percent; none of nothing.
pub fn percent(part: i128, whole: i128) -> Option<i128> {
    (whole > 0).then(|| divide_half_even(part.saturating_mul(100), whole))
}

/// A share in whole percent, like `33%`; what is less than half a percent but not nothing is `<1%`.
pub fn share(part: i128, whole: i128) -> String {
    match percent(part, whole) {
        Some(0) if part > 0 => "<1%".to_owned(),
        percent => format!("{}%", percent.unwrap_or(0)),
    }
}

/// Money where there is little room, like `$61.67` and `$1,235`.
pub fn usd_short(amount: UsdSum) -> String {
    let dollars = divide_half_even(amount.picos(), PICOS_PER_CENT * 100);
    if dollars.unsigned_abs() < 100 {
        return usd(amount);
    }
    format!("{}${}", if dollars < 0 { "−" } else { "" }, grouped(dollars.unsigned_abs()))
}

/// How `now` differs from `before`, in whole percent, with its sign, like `+12%`; none where there was nothing.
pub fn change(now: i128, before: i128) -> Option<String> {
    let percent = percent(now.saturating_sub(before), before)?;
    Some(match percent {
        0 => "±0%".to_owned(),
        1.. => format!("+{}%", count(percent)),
        _ => format!("−{}%", count(percent.saturating_neg())),
    })
}

/// `1 to 26 Sep`, or `all of September`
pub(crate) fn against(against: Against) -> String {
    let month = against.through.month();
    if against.is_whole {
        return format!("all of {}", month_name(month));
    }
    match against.through.day_of_month() {
        1 => format!("1 {}", month_short(month)),
        last => format!("1 to {last} {}", month_short(month)),
    }
}

/// `October 2025`
pub fn month(month: Month) -> String {
    format!("{} {}", month_name(month), month.index().div_euclid(12))
}

/// `October`
pub fn month_name(month: Month) -> &'static str {
    MONTHS.get(month.index().rem_euclid(12) as usize).copied().unwrap_or_default()
}

/// `Oct`
pub fn month_short(month: Month) -> &'static str {
    month_name(month).get(..3).unwrap_or_default()
}

/// `26 Oct`
pub fn day(day: Day) -> String {
    format!("{} {}", day.day_of_month(), month_short(day.month()))
}

/// `14:03:02`, in UTC.
pub fn time(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// `26 Oct, 14:03`, with the year where it is not that of `now`; in UTC.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let time = time(at);
    let time = time.get(..5).unwrap_or_default();
    if at.month().index().div_euclid(12) == now.month().index().div_euclid(12) {
        format!("{}, {time}", day(at.day()))
    } else {
        format!("{} {}, {time}", day(at.day()), at.month().index().div_euclid(12))
    }
}

/// A duration, like `840 ms`, `4.0 s`, `12 min`, `3 h 20 min`.
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1_000;
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{seconds}.{} s", millis % 1_000 / 100),
        60_000..3_600_000 => match seconds % 60 {
            0 => format!("{} min", seconds / 60),
            rest => format!("{} min {rest} s", seconds / 60),
        },
        _ => match seconds / 60 % 60 {
            0 => format!("{} h", seconds / 3_600),
            rest => format!("{} h {rest} min", seconds / 3_600),
        },
    }
}

/// Milliseconds from one instant to a later one; 0 when it is not later.
pub fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from((to.nanos() - from.nanos()) / 1_000_000).unwrap_or(0)
}

/// Bytes, like `12.3 MB`.
pub fn bytes(bytes: u64) -> String {
    let in_unit = |unit: u64, name: &str| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => in_unit(1_000, "kB"),
        1_000_000..1_000_000_000 => in_unit(1_000_000, "MB"),
        _ => in_unit(1_000_000_000, "GB"),
    }
}

/// A long name cut in its middle, so that both ends can be told apart; the whole belongs into `title`.
pub fn shortened(text: &str, characters_max: usize) -> std::borrow::Cow<'_, str> {
    let length = text.chars().count();
    if length <= characters_max {
        return text.into();
    }
    let end = characters_max / 2;
    let start = characters_max - end - 1;
    let first: String = text.chars().take(start).collect();
    let last: String = text.chars().skip(length - end).collect();
    format!("{first}…{last}").into()
}

/// `1 session`, `2 sessions`.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number.into()), if number == 1 { one } else { many })
}

/// A label as it stands within a sentence: `AI Operations` is `AI operations`.
pub fn in_a_sentence(label: &str) -> String {
    let words = label.split(' ').map(|word| {
        let is_abbreviation = word == word.to_uppercase();
        if is_abbreviation { word.to_owned() } else { word.to_lowercase() }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_in_cents_and_never_as_nothing_when_there_is_some() {
        let shown = |picos: i128| usd(UsdSum::from_picos(picos));
        assert_eq!(shown(0), "$0.00");
        assert_eq!(shown(1_607_850_000), "<$0.01");
        assert_eq!(shown(61_415_730_200_000), "$61.42");
        assert_eq!(shown(1_234_567_891_000_000_000), "$1,234,567.89");
        assert_eq!(shown(-1_500_000_000_000), "−$1.50");
        // Half to even, like everywhere.
        assert_eq!(shown(25_000_000_000), "$0.02");
        assert_eq!(shown(35_000_000_000), "$0.04");
        assert_eq!(usd_fine(UsdSum::from_picos(3_364_876_737)), "$0.00336");
        assert_eq!(usd_fine(UsdSum::from_picos(1)), "<$0.00001");
        assert_eq!(usd_fine(UsdSum::from_picos(2_500_000_000_000)), "$2.50");
        assert_eq!(usd_exact(UsdSum::from_picos(-1_607_850_000)), "−$0.00160785");
        let short = |cents: i128| usd_short(UsdSum::from_picos(cents * PICOS_PER_CENT));
        assert_eq!([6_167, 9_949, 9_951, 123_456].map(short), ["$61.67", "$99.49", "$100", "$1,235"]);
    }

    #[test]
    fn times_are_shown_as_in_utc() {
        let at = Timestamp::parse("2025-10-31T23:59:58.785Z").unwrap();
        assert_eq!(moment(at, at), "31 Oct, 23:59");
        assert_eq!(moment(at, Timestamp::parse("2026-01-01T00:00:00Z").unwrap()), "31 Oct 2025, 23:59");
        assert_eq!(time(at), "23:59:58");
        assert_eq!(month(at.month()), "October 2025");
        assert_eq!(
            [840, 4_000, 61_000, 720_000, 12_000_000].map(duration),
            ["840 ms", "4.0 s", "1 min 1 s", "12 min", "3 h 20 min"]
        );
        assert_eq!(millis_between(at, at.plus_seconds(-1)), 0);
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        assert_eq!(shortened("business_card_scan", 18), "business_card_scan");
        assert_eq!(shortened("business_card_scan_ocr", 11), "busin…n_ocr");
        assert_eq!(shortened("😀😀😀😀", 3), "😀…😀");
    }

    #[test]
    fn changes_have_their_sign() {
        assert_eq!(change(112, 100).as_deref(), Some("+12%"));
        assert_eq!(change(50, 100).as_deref(), Some("−50%"));
        assert_eq!(change(100, 100).as_deref(), Some("±0%"));
        assert_eq!(change(1, 0), None);
        assert_eq!(
            [(0, 9), (1, 900), (1, 3), (0, 0)].map(|(part, whole)| share(part, whole)),
            ["0%", "<1%", "33%", "0%"]
        );
    }
}
