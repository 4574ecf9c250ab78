//! Scripts that the program carries, for pages of any origin: each with its digest as `ETag`, and packed once.

use std::io::Write;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

/// How long a browser uses what it has without asking; then it asks with the `ETag`.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A script as it is sent.
struct Asset {
    plain: Bytes,
    packed: Bytes,
    /// Of the plain bytes; a weak one, since the packed ones mean the same.
    etag: HeaderValue,
}

impl Asset {
    fn new(plain: &'static [u8]) -> Self {
        let mut packer = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::best());
        // Writing to memory cannot fail; if it did, the plain bytes would go out.
        let packed = packer.write_all(plain).and_then(|()| packer.finish()).unwrap_or_default();
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(plain));
        let etag = HeaderValue::try_from(format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
        Self { plain: Bytes::from_static(plain), packed: packed.into(), etag }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
            (CACHE_CONTROL, CACHED),
            (VARY, HeaderValue::from_static("Accept-Encoding")),
            (ETAG, self.etag.clone()),
        ];
        if asked.get_all(IF_NONE_MATCH).iter().any(|known| self.is_known(known)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if self.packed.is_empty() || !takes_gzip(asked) {
            return (headers, self.plain.clone()).into_response();
        }
        (headers, [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))], self.packed.clone()).into_response()
    }

    /// Whether one of these tags is ours, compared weakly.
    fn is_known(&self, tags: &HeaderValue) -> bool {
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let (Ok(tags), Ok(own)) = (tags.to_str(), self.etag.to_str()) else { return false };
        tags.split(',').any(|tag| tag.trim() == "*" || strong(tag) == strong(own))
    }
}

/// Whether gzip is among what is accepted, by its name or by `*`, and not ruled out by a weight of zero.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let weight_of = |coding: &str| {
        let lists = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).find_map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case(coding).then(|| weight.unwrap_or(0.0))
        })
    };
    weight_of("gzip").or_else(|| weight_of("*")).is_some_and(|weight| weight > 0.0)
}

/// Load the budget card
///
/// An ES module that defines `<outlay-budget-card>`: its attributes are `src` (this server's address, may have a path),
/// `user-id`, and `token` or `token-url`.
#[utoipa::path(get, path = "/card.js", tag = "Server", security(()),
    responses((status = 200, description = "The module", content_type = "text/javascript", body = String),
        (status = 304, description = "It is the one that `If-None-Match` names")))]
pub(super) async fn card(headers: HeaderMap) -> Response {
    static CARD: LazyLock<Asset> = LazyLock::new(|| Asset::new(include_bytes!("../../../../web/card.min.js")));
    CARD.answer(&headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (accepted, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("deflate, *;q=0.1", true),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("gzip;q=x", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(takes_gzip(&headers), takes, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
