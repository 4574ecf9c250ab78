//! The list of erasures beside a store: it is read to its end or found unreadable, a line that was cut off takes no other one
//! with it, and nobody is erased whom no whole line names.

use outlay::store::embedded::{ERASURES_NAME, Erasure, read_erasures};

/// See the head of the file.
pub fn erasures(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = crate::rows::folder();
    }
    let path = FOLDER.with(|folder| folder.path().join(ERASURES_NAME));
    let read = |data: &[u8]| {
        std::fs::write(&path, data).expect("written");
        read_erasures(&path)
    };
    let listed = read(data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(listed.is_err(), "what is no text names somebody");
        return;
    };
    let listed = listed.expect("a text is read");
    let lines: Vec<&str> = text.lines().filter(|line| Erasure::parse(line).is_some()).collect();
    assert_eq!(lines.len(), listed.len(), "{text:?}");
    for (line, erasure) in lines.iter().zip(&listed) {
        let [no, tag] = [erasure.user_no.0, erasure.tag].map(u64::cast_signed);
        assert_eq!(Erasure::parse(&format!("{no} {tag}\n")), Some(*erasure), "{line:?}");
        let numbers: Vec<i64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        assert_eq!(numbers, [no, tag], "{line:?}");
    }
    // A crash may cut the list anywhere; then the next line begins after a line break.
    let (cut, _) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let whole = cut.rfind('\n').map_or("", |end| &cut[..end]);
    let mended = read(format!("{cut}\n7 -9\n").as_bytes()).expect("a text is read");
    let kept = whole.lines().filter_map(Erasure::parse).count();
    assert!((kept + 1..=kept + 2).contains(&mended.len()), "{cut:?}");
    assert_eq!(mended[..kept], listed[..kept], "{cut:?}");
    assert_eq!(mended.last(), Erasure::parse("7 -9").as_ref(), "{cut:?}");
}
