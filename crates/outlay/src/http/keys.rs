//! Keys: their form, and the routes that make, list and revoke them.
//!
//! A key is `outlay_app_` (or `_admin_`, `_view_`), 30 base62 characters from the operating system and 6 of checksum, so
//! that a mistyped one is refused without a lookup. Only its SHA-256 is kept.

use crate::store::records::Role;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key that are random: 178 bits.
const RANDOM_CHARACTERS: usize = 30;
/// Characters of the checksum: 62^6 is above 2^32.
const CHECK_CHARACTERS: usize = 6;

/// Whether a text with the form of our keys has the right checksum; `None` when it has not the form.
pub(super) fn checksum_holds(shown: &str) -> Option<bool> {
    let rest = Role::ALL.iter().find_map(|role| shown.strip_prefix(role.key_prefix()))?;
    if rest.len() != RANDOM_CHARACTERS + CHECK_CHARACTERS || !rest.is_ascii() {
        return Some(false);
    }
    let (body, check) = shown.split_at(shown.len() - CHECK_CHARACTERS);
    Some(check == checksum(body))
}

/// CRC32 of the prefix and the random part, in base62.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECK_CHARACTERS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}
