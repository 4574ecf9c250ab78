//! Which servers are believed to be who they say they are: those that this machine believes.
//!
//! The certificates are the operating system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, read once.

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

static CERTIFICATES: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("failed to read the certificates of this machine: {error}");
    }
    let mut certificates = found.certs;
    // Some machines keep certificates that nothing can be done with; one of them must not keep all from being used.
    certificates.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    if certificates.is_empty() {
        tracing::warn!(
            "there are no root certificates on this machine, so no https address can be reached; install \
             ca-certificates, or name a file with SSL_CERT_FILE"
        );
    }
    certificates
});

/// The root certificates of this machine.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CERTIFICATES.iter().cloned());
    roots
}

/// The same, as they are kept.
pub fn root_certificates() -> impl Iterator<Item = &'static [u8]> {
    CERTIFICATES.iter().map(AsRef::as_ref)
}

/// How a client of HTTP/1.1 speaks TLS with servers that these certificates vouch for.
pub fn http_client(roots: RootCertStore) -> ClientConfig {
    let mut config = builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// How a client of PostgreSQL speaks TLS with servers that these certificates vouch for, and that have the host's name.
pub fn database_client(roots: RootCertStore) -> ClientConfig {
    let mut config = builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().expect("the provider knows the default versions")
}
