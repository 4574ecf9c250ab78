//! TLS before something that speaks none: a front as a proxy or a mail server has one, with a certificate of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate for `localhost`.
pub(crate) struct Certified {
    /// What a server shows it with.
    pub(crate) config: Arc<ServerConfig>,
    /// Where it lies, for `SSL_CERT_FILE`.
    pub(crate) file: PathBuf,
    folder: tempfile::TempDir,
}

pub(crate) fn certificate() -> Certified {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("localhost.pem");
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&file, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    Certified { config: Arc::new(config), file, folder }
}

/// A front for `localhost`, which leads to another address.
pub(crate) struct TlsFront {
    pub(crate) port: u16,
    /// The certificate, for `SSL_CERT_FILE`.
    pub(crate) certificate: PathBuf,
    _folder: tempfile::TempDir,
}

impl TlsFront {
    pub(crate) fn before(address: SocketAddr) -> TlsFront {
        let Certified { config, file, folder } = certificate();
        let acceptor = TlsAcceptor::from(config);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap().port()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        // Whoever does not believe the certificate goes away; that is theirs to say.
                        let Ok(mut outside) = acceptor.accept(stream).await else { return };
                        let mut inside = TcpStream::connect(address).await.unwrap();
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    });
                }
            });
        });
        TlsFront { port: receiver.recv().unwrap(), certificate: file, _folder: folder }
    }
}
