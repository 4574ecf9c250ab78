//! Bodies that are wrong, hostile or only unusual: each is told with its pointer, or read exactly.

use super::*;

#[test]
fn numbers_are_read_from_their_own_text() {
    assert_eq!(whole(0..=10)("10"), Ok(10));
    for raw in ["11", "-1", "1.0", "1e1", "\"1\"", "-", "", "true", "99999999999999999999"] {
        assert!(whole(0..=10)(raw).is_err(), "{raw}");
    }
}
