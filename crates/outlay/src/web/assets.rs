//! The style and the scripts of the pages, which are plain files in `web/pages/` at the top of the repository.

use rust_embed::{EmbeddedFile, RustEmbed};

/// The files in the program; a debug build reads them from their folder, so that a change shows at once.
#[derive(RustEmbed)]
#[folder = "../../web/pages/"]
struct Files;

/// A file with its type.
pub fn file(name: &str) -> Option<(EmbeddedFile, &'static str)> {
    let content_type = match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        _ => return None,
    };
    Some((Files::get(name)?, content_type))
}

/// What tells one content of a file from another, for its address: so browsers can keep it for ever.
pub fn version(name: &str) -> String {
    let hash = Files::get(name).map(|file| file.metadata.sha256_hash()).unwrap_or_default();
    let first = hash.first_chunk::<8>().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}
