//! Decimal text read the slow way, digit by digit: what the program's own reader is compared with.

/// The number in trillionths, rounded half to even; `None` when the text is no number of JSON with at most 400 characters and
/// an exponent from -400 to 40, or when it is beyond `i128`.
pub fn trillionths(text: &str) -> Option<i128> {
    if text.len() > 400 {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Where the digits end that are whole trillionths; it may lie before the first digit or after the last.
    let end = whole.len() as i64 + exponent + 12;
    let digit =
        |at: i64| usize::try_from(at).ok().and_then(|at| digits.get(at)).map_or(0, |byte| i128::from(byte - b'0'));
    let mut sum: i128 = 0;
    for at in 0..end.max(0) {
        sum = sum.checked_mul(10)?.checked_add(digit(at))?;
    }
    let rest: Vec<i128> = (end..digits.len() as i64).map(digit).collect();
    let half = rest.first() == Some(&5) && rest[1..].iter().all(|digit| *digit == 0);
    let above_half = rest.first().is_some_and(|first| *first >= 5) && !half;
    if above_half || (half && sum % 2 == 1) {
        sum += 1;
    }
    Some(if negative { -sum } else { sum })
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = text.parse().ok()?;
    (-400..=40).contains(&exponent).then_some(exponent)
}
