//! Real sockets: receivers that do as they are told, and some that must never be spoken to.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::names::Resolving;
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OK: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

/// Names as a test wants them to stand.
#[derive(Debug)]
struct Names(Vec<(&'static str, Vec<IpAddr>)>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        let found = self.0.iter().find(|(known, _)| *known == name).map(|(_, addresses)| addresses.clone());
        Box::pin(std::future::ready(found.ok_or_else(|| io::Error::other("no such name"))))
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What a receiver does once it has read the request.
#[derive(Clone, Copy)]
enum Does {
    Says(&'static str),
    Hangs,
    Drips,
    SaysAGigabyte,
    SaysOkAndResets,
    Closes,
}

/// A receiver on a port of its own.
struct Receiver {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    /// Bytes of the answer that went out.
    written: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start(does: Does) -> Self {
        Self::start_with(does, None).await
    }

    async fn start_with(does: Does, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (seen, sent, kept) = (Arc::clone(&connections), Arc::clone(&written), Arc::clone(&requests));
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                let (sent, kept, tls) = (Arc::clone(&sent), Arc::clone(&kept), tls.clone());
                serving.spawn(async move {
                    if matches!(does, Does::SaysOkAndResets) {
                        stream.set_zero_linger().unwrap();
                    }
                    let mut stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let request = read_request(&mut *stream).await;
                    kept.lock().await.push(request);
                    serve(&mut *stream, does, &sent).await;
                });
            }
        });
        Self { port, connections, requests, written, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn read_request(stream: &mut dyn Stream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        text.extend_from_slice(&buffer[..read]);
        // A handshake, where TLS is not spoken.
        if text.first() == Some(&0x16) {
            break;
        }
        let request = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return request;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn serve(stream: &mut dyn Stream, does: Does, written: &AtomicUsize) {
    match does {
        Does::Says(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Does::Closes => {}
        Does::Hangs => std::future::pending().await,
        Does::Drips => {
            let mut answer = b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat(&b'a'));
            while let Some(byte) = answer.next()
                && stream.write_all(&[*byte]).await.is_ok()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Does::SaysAGigabyte => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
            let part = vec![b'a'; 100_000];
            while let Ok(count @ 1..) = stream.write(&part).await {
                written.fetch_add(count, Ordering::SeqCst);
            }
        }
        Does::SaysOkAndResets => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
            let _ = stream.flush().await;
        }
    }
}

/// A sender that waits less, for names that stand as given, with these exceptions.
fn sender(allow: &str, names: &[(&'static str, &str)]) -> Sender {
    let allow = if allow.is_empty() { WebhookAllow::default() } else { WebhookAllow::parse(allow).unwrap() };
    let addresses = |text: &str| text.split(',').map(|address| address.parse().unwrap()).collect();
    Sender {
        resolver: Box::new(Names(names.iter().map(|(name, text)| (*name, addresses(text))).collect())),
        times: Times {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            rest: Duration::from_millis(200),
        },
        ..Sender::new(&allow)
    }
}

fn secrets() -> Vec<SigningSecret> {
    vec![SigningSecret::parse(SECRET).unwrap()]
}

async fn send(sender: &Sender, url: &str) -> Tried {
    let at = Timestamp::parse("2025-10-26T12:00:00Z").unwrap();
    sender.send(url, &secrets(), "alert_1", at, Bytes::from_static(b"{\"type\":\"a\"}")).await
}

async fn failure(sender: &Sender, url: &str) -> Failure {
    match send(sender, url).await {
        Tried::Failed(failure) => failure,
        Tried::Delivered { status } => panic!("{url} was delivered: {status:?}"),
    }
}

async fn tried(does: Does) -> Tried {
    let receiver = Receiver::start(does).await;
    send(&sender("127.0.0.1", &[]), &format!("http://127.0.0.1:{}/", receiver.port)).await
}

/// A certificate for these names that only those believe who are given its roots.
fn certificate(names: &[&str]) -> (TlsAcceptor, RootCertStore) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

#[tokio::test]
async fn a_message_arrives_whole_and_signed_by_every_secret() {
    let receiver = Receiver::start(Does::Says(OK)).await;
    let sender = sender("hooks.internal", &[("hooks.internal", "127.0.0.1")]);
    let url = format!("http://hooks.internal:{}/a/b?c=d", receiver.port);
    let two = [
        SigningSecret::parse(SECRET).unwrap(),
        SigningSecret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap(),
    ];
    let at = Timestamp::parse("2025-10-26T12:00:00Z").unwrap();
    let body = Bytes::from_static(b"{\"a\":1}");
    let tried = sender.send(&url, &two, "alert_1", at, body.clone()).await;
    assert_eq!(tried, Tried::Delivered { status: Some(204) });
    let requests = receiver.requests.lock().await;
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(sent.as_bytes(), body);
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /a/b?c=d HTTP/1.1");
    let signature = signing::signatures(&two, "alert_1", 1_761_480_000, &body).unwrap();
    lines.sort_unstable();
    let host = format!("host: hooks.internal:{}", receiver.port);
    let signature = format!("webhook-signature: {signature}");
    assert_eq!(
        lines,
        [
            "connection: close",
            "content-length: 7",
            "content-type: application/json",
            &host,
            "user-agent: Outlay/0.1.0",
            "webhook-id: alert_1",
            &signature,
            "webhook-timestamp: 1761480000",
        ]
    );
}

#[tokio::test]
async fn over_https_only_a_believed_certificate_of_that_very_name_is_spoken_to() {
    let (acceptor, roots) = certificate(&["hooks.example"]);
    let receiver = Receiver::start_with(Does::Says(OK), Some(acceptor)).await;
    let names = [("hooks.example", "127.0.0.1"), ("other.example", "127.0.0.1")];
    let believing = Sender { tls: Arc::new(tls::http_client(roots)), ..sender("hooks.example,other.example", &names) };
    let url = |name: &str| format!("https://{name}:{}/", receiver.port);
    assert_eq!(send(&believing, &url("hooks.example")).await, Tried::Delivered { status: Some(204) });
    for (sender, name) in [(&believing, "other.example"), (&sender("hooks.example", &names), "hooks.example")] {
        let failure = failure(sender, &url(name)).await;
        assert!(failure.reason.starts_with("no safe connection: invalid peer certificate"), "{failure:?}");
        assert!(!failure.kept && failure.status.is_none());
    }
    assert_eq!(receiver.requests.lock().await.len(), 1);

    // Something that speaks no TLS.
    let plain = Receiver::start(Does::Says(OK)).await;
    let failure = failure(&believing, &format!("https://hooks.example:{}/", plain.port)).await;
    assert!(failure.reason.starts_with("no safe connection"), "{failure:?}");
}

#[tokio::test]
async fn what_a_receiver_answers_becomes_of_the_try_what_it_says() {
    let status = |tried: Tried| match tried {
        Tried::Delivered { status } => panic!("delivered: {status:?}"),
        Tried::Failed(failure) => failure,
    };
    let down = status(tried(Does::Says("HTTP/1.1 500 Oh\r\ncontent-length: 13\r\n\r\n<secret page>")).await);
    assert_eq!((down.status, down.reason.as_str(), down.gone, down.kept), (Some(500), "answered 500", false, false));
    assert!(status(tried(Does::Says("HTTP/1.1 410 Gone\r\n\r\n")).await).gone);
    let busy = status(tried(Does::Says("HTTP/1.1 429 Busy\r\nretry-after: 120\r\n\r\n")).await);
    assert_eq!((busy.status, busy.retry_after), (Some(429), Some(Duration::from_mins(2))));
    let later = "HTTP/1.1 503 Busy\r\nretry-after: Sun, 26 Oct 2025 12:01:30 GMT\r\n\r\n";
    assert_eq!(status(tried(Does::Says(later)).await).retry_after, Some(Duration::from_secs(90)));
    let past = "HTTP/1.1 503 Busy\r\nretry-after: Sun, 26 Oct 2025 11:00:00 GMT\r\n\r\n";
    assert_eq!(status(tried(Does::Says(past)).await).retry_after, Some(Duration::ZERO));
    let never = "HTTP/1.1 503 Busy\r\nretry-after: 99999999999\r\n\r\n";
    assert_eq!(status(tried(Does::Says(never)).await).retry_after, Some(RETRY_AFTER_MAX));
    let senseless = "HTTP/1.1 503 Busy\r\nretry-after: soon\r\n\r\n";
    assert_eq!(status(tried(Does::Says(senseless)).await).retry_after, None);
    let beyond = "HTTP/1.1 503 x\r\nretry-after: 99999999999999999999999\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(status(tried(Does::Says(beyond)).await).retry_after, Some(RETRY_AFTER_MAX));
    for (does, reason) in [
        (Does::Closes, "the connection broke before the answer"),
        (Does::Says("SSH-2.0-OpenSSH_9.2\r\n"), "did not answer in HTTP"),
    ] {
        assert_eq!(status(tried(does).await).reason, reason);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_not_even_outside() {
    let inside = Receiver::start(Does::Says(OK)).await;
    let answer = format!("HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n", inside.port);
    for answer in
        [answer, "HTTP/1.1 302 Go\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_owned()]
    {
        let receiver = Receiver::start(Does::Says(Box::leak(answer.into_boxed_str()))).await;
        // Even where the other place is allowed.
        let failure = failure(&sender("127.0.0.1", &[]), &format!("http://127.0.0.1:{}/", receiver.port)).await;
        assert!(failure.reason.ends_with("a redirect, which is not followed"), "{failure:?}");
        assert_eq!(receiver.connections(), 1);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_receiver_that_hangs_or_drips_is_left_when_its_time_is_up() {
    let impatient =
        |allow| Sender { times: Times { total: Duration::from_millis(400), ..Times::default() }, ..sender(allow, &[]) };
    for does in [Does::Hangs, Does::Drips] {
        let receiver = Receiver::start(does).await;
        let failure = failure(&impatient("127.0.0.1"), &format!("http://127.0.0.1:{}/", receiver.port)).await;
        assert!(failure.reason.starts_with("did not answer within"), "{failure:?}");
        assert_eq!(receiver.connections(), 1);
    }
    // In the middle of TLS, too.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    assert!(failure(&impatient("127.0.0.1"), &url).await.reason.starts_with("did not answer within"));
}

#[tokio::test]
async fn a_success_is_one_whatever_comes_after_it_and_little_of_that_is_read() {
    let receiver = Receiver::start(Does::SaysAGigabyte).await;
    let tried_long = send(&sender("127.0.0.1", &[]), &format!("http://127.0.0.1:{}/", receiver.port)).await;
    assert_eq!(tried_long, Tried::Delivered { status: Some(200) });
    // What the system's own buffers took.
    assert!(receiver.written.load(Ordering::SeqCst) < 50_000_000);
    assert_eq!(tried(Does::SaysOkAndResets).await, Tried::Delivered { status: Some(200) });
    assert_eq!(
        tried(Does::Says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")).await,
        Tried::Delivered { status: Some(200) }
    );
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(70_000)).into_boxed_str());
    assert!(matches!(tried(Does::Says(long)).await, Tried::Failed(_)));
}

#[tokio::test]
async fn what_only_this_machine_reaches_never_sees_a_connection() {
    let receiver = Receiver::start(Does::Says(OK)).await;
    let port = receiver.port;
    let names = [
        ("rebound.example", "127.0.0.1"),
        ("mapped.example", "::ffff:127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
        ("translated.example", "64:ff9b::7f00:1"),
        ("zero.example", "0.0.0.0"),
        ("both.example", "10.0.0.1,::1,127.0.0.1"),
    ];
    // The port is let through, so that nothing but the address stands in the way.
    let strict = || {
        let strict = sender("", &names);
        Sender { rules: strict.rules.clone().with_port(port), ..strict }
    };
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "[::]",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
    ];
    for host in hosts.into_iter().chain(names.map(|(name, _)| name)) {
        let failure = failure(&strict(), &format!("https://{host}:{port}/")).await;
        assert!(failure.reason.contains("must be at a public address"), "{host}: {failure:?}");
    }
    // By the real resolver.
    let real = Sender { rules: strict().rules, ..Sender::new(&WebhookAllow::default()) };
    let inside = failure(&real, &format!("https://localhost:{port}/")).await;
    assert!(inside.reason.contains("public address"), "{inside:?}");
    assert_eq!(
        failure(&strict(), &format!("https://nowhere.example:{port}/")).await.reason,
        "the name of its host cannot be looked up"
    );
    assert_eq!(receiver.connections(), 0);

    // The same place is reached by an exception, so the receiver would have seen one.
    let lenient = sender("127.0.0.0/8", &names);
    for host in ["rebound.example", "mapped.example", "2130706433"] {
        assert_eq!(send(&lenient, &format!("http://{host}:{port}/")).await, Tried::Delivered { status: Some(204) });
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn an_address_that_can_never_be_sent_to_is_kept_for_somebody_to_mend() {
    for url in ["http://example.org/", "https://127.0.0.1/", "nonsense"] {
        assert!(failure(&sender("", &[]), url).await.kept, "{url}");
    }
    let sender = sender("127.0.0.1", &[]);
    let at = Timestamp::EPOCH;
    let tried = sender.send("http://127.0.0.1:1/", &secrets(), "a\r\nx: y", at, Bytes::new()).await;
    assert!(matches!(tried, Tried::Failed(Failure { kept: true, .. })), "{tried:?}");
    let refused = failure(&sender, "http://127.0.0.1:1/").await;
    assert_eq!((refused.reason.as_str(), refused.kept), ("no connection: it was refused", false));
}
