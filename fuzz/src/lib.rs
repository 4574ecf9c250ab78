//! What must hold of every input, one function per fuzz target. The programs in `fuzz_targets/` hand libFuzzer's inputs to
//! these functions; the tests below hand them the files of `seeds/`, on machines without libFuzzer too.

mod address;
mod answer;
mod decimal;
mod erasures;
mod headers;
mod import;
mod request;
mod rows;
mod settings;

use outlay::http::page::{Parameters, open_cursor, seal_cursor};
use outlay_core::money::{Quantity, Usd};
use outlay_core::month::{Day, Month, Timestamp};

pub use address::address;
pub use answer::answer;
pub use erasures::erasures;
pub use headers::headers;
pub use import::import;
pub use request::request;
pub use rows::rows;
pub use settings::settings;

/// Money is read exactly as slow arithmetic on digits reads it, and reads back as itself.
pub fn money(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let exact = decimal::trillionths(text);
    match (Usd::parse_limit(text), exact) {
        (Ok(amount), exact) => {
            assert_eq!(Some(i128::from(amount.picos())), exact, "{text}");
            assert_eq!(Usd::parse_limit(&amount.to_string()), Ok(amount), "{text}");
        }
        (Err(error), Some(exact)) => {
            let max = i128::from(Usd::TOTAL_MAX.picos());
            assert!(!(0..=max).contains(&exact), "{text} is {exact} trillionths, and is refused: {error}");
        }
        (Err(_), None) => {}
    }
    // A cost is a limit that is not above a million.
    let cost = Usd::parse(text);
    assert_eq!(cost.ok(), Usd::parse_limit(text).ok().filter(|amount| *amount <= Usd::AMOUNT_MAX), "{text}");
    if let Ok(quantity) = Quantity::parse(text) {
        assert_eq!(Some(quantity.picos()), exact, "{text}");
        assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity), "{text}");
    }
}

/// A time reads back as itself, and lies in its month and day.
pub fn timestamp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(month) = Month::parse(text) {
        assert_eq!(month.to_string(), text);
        assert_eq!(Month::from_index(month.index()), month);
    }
    let Ok(instant) = Timestamp::parse(text) else { return };
    assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant), "{text}");
    assert_eq!(Timestamp::from_nanos(instant.nanos()), Ok(instant), "{text}");
    let (month, day) = (instant.month(), instant.day());
    assert!(month.start() <= instant && instant < month.resets_at(), "{text}");
    assert!(day.start() <= instant && day.month() == month, "{text}");
    assert_eq!(Day::from_index(day.index()), day, "{text}");
    assert_eq!(Month::parse(&month.to_string()), Ok(month), "{text}");
}

/// A cursor that is taken back is one that was given; and a query string is read or refused.
pub fn cursor(data: &[u8]) {
    const STORE: u128 = 7;
    let sealed = seal_cursor(STORE, "usage", data);
    assert_eq!(open_cursor(STORE, "usage", &sealed).as_deref(), Ok(data));
    assert!(open_cursor(STORE, "sessions", &sealed).is_err() && open_cursor(STORE + 1, "usage", &sealed).is_err());
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(place) = open_cursor(STORE, "usage", text) {
        assert_eq!(seal_cursor(STORE, "usage", &place), text);
    }
    let mut parameters = Parameters::parse(text);
    let (limit, flag) = (parameters.limit(), parameters.flag("steps", true));
    let month = parameters.read("month", Month::parse);
    let _ = parameters.take("cursor");
    assert!((1..=1000).contains(&limit));
    if parameters.finish().is_ok() && text.is_empty() {
        assert!(limit == 50 && flag && month.is_none());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn seeds(target: &str, run: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            run(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no seeds");
    }

    #[test]
    fn address() {
        seeds("address", super::address);
    }

    #[test]
    fn answer() {
        seeds("answer", super::answer);
    }

    #[test]
    fn cursor() {
        seeds("cursor", super::cursor);
    }

    #[test]
    fn erasures() {
        seeds("erasures", super::erasures);
    }

    #[test]
    fn headers() {
        seeds("headers", super::headers);
    }

    #[test]
    fn import() {
        seeds("import", super::import);
    }

    #[test]
    fn money() {
        seeds("money", super::money);
    }

    #[test]
    fn request() {
        seeds("request", super::request);
    }

    #[test]
    fn rows() {
        seeds("rows", super::rows);
    }

    #[test]
    fn settings() {
        seeds("settings", super::settings);
    }

    #[test]
    fn timestamp() {
        seeds("timestamp", super::timestamp);
    }
}
