//! Secrets at rest: sealed under the master key with XChaCha20-Poly1305, bound to their own name.
//!
//! The master key is never in the store's file, so a copy of it, or a backup, holds only ciphertext.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ids::Ids;

/// The file in the data folder that holds the master key where none is configured.
pub const MASTER_KEY_FILE: &str = "master.key";
/// The file beside it while the key is being changed.
const NEXT_KEY_FILE: &str = "master.key.next";
/// Bytes of a nonce, which is random each time and stands before the ciphertext.
const NONCE_BYTES: usize = 24;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// The master key's file cannot be read or made.
    #[error("use the master key in `{file}`")]
    File {
        /// Which file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error("use the master key in `{0}`: it must be 32 bytes in base64")]
    Form(String),
    /// Others on this machine can read the key.
    #[error("use the master key in `{0}`: others may read it; `chmod 600` it")]
    Readable(String),
    /// The operating system gave no randomness.
    #[error("make a secret")]
    Random(#[source] getrandom::Error),
    /// It was sealed under another key or name, or was changed since.
    #[error("open the secret `{0}`: it was sealed under another master key, or has been changed")]
    Opened(String),
}

/// The key under which secrets are sealed; while it is being changed, also the one that takes its place.
pub struct MasterKey {
    current: XChaCha20Poly1305,
    /// Opens as well, and seals from now on.
    next: Option<XChaCha20Poly1305>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// The key with these bytes, as `OUTLAY_MASTER_KEY` gives them.
    pub fn new(bytes: &SecretBox<[u8; 32]>) -> Self {
        Self { current: cipher(bytes), next: None }
    }

    /// The same, while another is taking its place.
    #[must_use]
    pub fn followed_by(mut self, bytes: &SecretBox<[u8; 32]>) -> Self {
        self.next = Some(cipher(bytes));
        self
    }

    /// The key in a data folder, made there if there is none. Gives whether it was made just now.
    ///
    /// # Errors
    /// When the file cannot be read or made, is readable by others, or holds no key.
    pub fn open_or_make(folder: &Path, ids: &Ids) -> Result<(Self, bool), SealError> {
        let (current, made) = read_or_make(folder, MASTER_KEY_FILE, ids)?;
        let key = Self::new(&current);
        if folder.join(NEXT_KEY_FILE).exists() {
            // A change of the key that did not come to its end; both open.
            let (next, _) = read_or_make(folder, NEXT_KEY_FILE, ids)?;
            return Ok((key.followed_by(&next), made));
        }
        Ok((key, made))
    }

    /// Begins to change the key of a data folder, or goes on where that was cut off. All secrets must be sealed anew, and
    /// then [`MasterKey::finish_change`] called.
    ///
    /// # Errors
    /// As [`MasterKey::open_or_make`].
    pub fn begin_change(folder: &Path, ids: &Ids) -> Result<Self, SealError> {
        let (current, _) = read_or_make(folder, MASTER_KEY_FILE, ids)?;
        let (next, _) = read_or_make(folder, NEXT_KEY_FILE, ids)?;
        Ok(Self::new(&current).followed_by(&next))
    }

    /// Puts the new key of a data folder in the place of the old one, which is gone then.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish_change(folder: &Path) -> Result<(), SealError> {
        let file = folder.join(MASTER_KEY_FILE);
        let failed = |source| SealError::File { file: file.display().to_string(), source };
        fs::rename(folder.join(NEXT_KEY_FILE), &file).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Seals a secret under its name.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, name: &str, secret: &[u8], ids: &Ids) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        ids.secret(&mut nonce).map_err(SealError::Random)?;
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        let cipher = self.next.as_ref().unwrap_or(&self.current);
        let ciphertext =
            cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Opened(name.to_owned()))?;
        Ok([nonce.as_slice(), &ciphertext].concat())
    }

    /// Opens what [`MasterKey::seal`] gave for this name.
    ///
    /// # Errors
    /// When it was sealed under another key or name, or was changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let failed = || SealError::Opened(name.to_owned());
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(failed)?;
        let mut keys = self.next.iter().chain([&self.current]);
        let opened = keys
            .find_map(|key| key.decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: name.as_bytes() }).ok());
        opened.map(Zeroizing::new).ok_or_else(failed)
    }
}

fn cipher(bytes: &SecretBox<[u8; 32]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(bytes.expose_secret().into())
}

/// The key in a file: 32 bytes in base64.
///
/// # Errors
/// When the file cannot be read, is readable by others, or holds no key.
pub fn read_key(file: &Path) -> Result<SecretBox<[u8; 32]>, SealError> {
    let shown = || file.display().to_string();
    let failed = |source| SealError::File { file: shown(), source };
    let text = Zeroizing::new(fs::read(file).map_err(failed)?);
    if fs::metadata(file).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(SealError::Readable(shown()));
    }
    let bytes = Zeroizing::new(STANDARD.decode(text.trim_ascii()).unwrap_or_default());
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SealError::Form(shown()))?);
    Ok(SecretBox::new(Box::new(*bytes)))
}

fn read_or_make(folder: &Path, name: &str, ids: &Ids) -> Result<(SecretBox<[u8; 32]>, bool), SealError> {
    let file = folder.join(name);
    if file.exists() {
        return Ok((read_key(&file)?, false));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    ids.secret(bytes.as_mut_slice()).map_err(SealError::Random)?;
    let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()).into_bytes());
    write_whole(folder, &file, &text).map_err(|source| SealError::File { file: file.display().to_string(), source })?;
    Ok((SecretBox::new(Box::new(*bytes)), true))
}

/// Writes a file that is there whole or not at all, readable by its owner alone.
fn write_whole(folder: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    let next = file.with_extension("being-written");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut written = options.open(&next)?;
    written.write_all(text)?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    fs::rename(&next, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn key(byte: u8) -> MasterKey {
        MasterKey::new(&SecretBox::new(Box::new([byte; 32])))
    }

    #[test]
    fn a_secret_opens_under_its_own_key_and_name_alone() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        let sealed = key(1).seal("token-key/1", b"secret", &ids).unwrap();
        assert_ne!(sealed, key(1).seal("token-key/1", b"secret", &ids).unwrap());
        assert_eq!(key(1).open("token-key/1", &sealed).unwrap().as_slice(), b"secret");
        assert!(key(2).open("token-key/1", &sealed).is_err());
        assert!(key(1).open("token-key/2", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key(1).open("token-key/1", &changed).is_err(), "byte {index}");
            assert!(key(1).open("token-key/1", &sealed[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn while_the_key_changes_both_open_and_the_new_one_seals() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (old, _) = MasterKey::open_or_make(folder.path(), &ids).unwrap();
        let sealed_before = old.seal("a", b"secret", &ids).unwrap();
        let both = MasterKey::begin_change(folder.path(), &ids).unwrap();
        let sealed_anew = both.seal("a", &both.open("a", &sealed_before).unwrap(), &ids).unwrap();
        assert!(old.open("a", &sealed_anew).is_err());
        // Cut off here: the next start and the next try open what was sealed under either.
        for again in [
            MasterKey::open_or_make(folder.path(), &ids).unwrap().0,
            MasterKey::begin_change(folder.path(), &ids).unwrap(),
        ] {
            assert!(again.open("a", &sealed_before).is_ok() && again.open("a", &sealed_anew).is_ok());
        }
        MasterKey::finish_change(folder.path()).unwrap();
        let (new, made) = MasterKey::open_or_make(folder.path(), &ids).unwrap();
        assert!(!made && new.open("a", &sealed_anew).is_ok() && new.open("a", &sealed_before).is_err());
    }

    #[test]
    fn the_key_of_a_folder_is_made_once_and_kept_from_others() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (first, made) = MasterKey::open_or_make(folder.path(), &ids).unwrap();
        assert!(made);
        let sealed = first.seal("a", b"secret", &ids).unwrap();
        let (second, made) = MasterKey::open_or_make(folder.path(), &ids).unwrap();
        assert!(!made);
        assert_eq!(second.open("a", &sealed).unwrap().as_slice(), b"secret");
        let file = folder.path().join(MASTER_KEY_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::open_or_make(folder.path(), &ids), Err(SealError::Readable(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "c2hvcnQ=").unwrap();
        assert!(matches!(MasterKey::open_or_make(folder.path(), &ids), Err(SealError::Form(_))));
    }
}
