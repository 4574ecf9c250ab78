//! A real receiver of webhooks, on axum and a port of its own: it keeps what it is sent, and answers as a test wants it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use sha2::Sha256;

use super::Json;

/// What the receiver does with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Does {
    /// Takes it.
    Takes,
    /// Takes it after so many milliseconds.
    TakesLate(u64),
    /// Answers this.
    Answers(u16),
    /// Answers this, and asks to be left alone for so many seconds.
    AsksToWait(u16, u32),
    /// Leads elsewhere.
    Redirects(String),
    /// Reads it, and says nothing.
    Hangs,
    /// Says that it fails, one letter after the other and without an end.
    Drips,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: Json,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Whether a secret, `whsec_...`, signed it.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.id, self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.bytes);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|one| one == signature)
    }

    /// How many signatures it carries.
    pub(crate) fn signatures(&self) -> usize {
        self.header("webhook-signature").split(' ').count()
    }
}

#[derive(Debug)]
struct Shared {
    does: Mutex<Does>,
    messages: Mutex<Vec<Message>>,
}

/// The receiver.
#[derive(Debug)]
pub(crate) struct HookReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

impl HookReceiver {
    pub(crate) fn start(does: Does) -> Self {
        let shared = Arc::new(Shared { does: Mutex::new(does), messages: Mutex::default() });
        let mut receiver = Self { address: "127.0.0.1:0".parse().unwrap(), shared, running: Mutex::default() };
        receiver.address = receiver.listen();
        receiver
    }

    fn listen(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&self.shared));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
            // What hangs is cut.
            runtime.shutdown_background();
        });
        *self.running.lock().unwrap() = Some(stop);
        address
    }

    /// `http://127.0.0.1:PORT/hook`
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn does(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
    }

    /// What came so far, in order.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// Takes no connection any more.
    #[cfg(feature = "test-clock")]
    pub(crate) fn goes_down(&self) {
        drop(self.running.lock().unwrap().take());
        while std::net::TcpStream::connect(self.address).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Listens again where it was.
    #[cfg(feature = "test-clock")]
    pub(crate) fn comes_back(&self) {
        self.listen();
    }
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        // A sender that goes away is no failure of the test.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let text = std::str::from_utf8(&bytes).unwrap();
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let message = Message { id, body: Json::parse(text).unwrap(), headers, bytes: bytes.clone() };
    let does = shared.does.lock().unwrap().clone();
    if let Does::TakesLate(millis) = does {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    shared.messages.lock().unwrap().push(message);
    let status = |code: u16| StatusCode::from_u16(code).unwrap();
    match does {
        Does::Takes | Does::TakesLate(_) => StatusCode::NO_CONTENT.into_response(),
        Does::Answers(code) => status(code).into_response(),
        Does::AsksToWait(code, seconds) => (status(code), [("retry-after", seconds.to_string())]).into_response(),
        Does::Redirects(to) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        Does::Hangs => std::future::pending().await,
        Does::Drips => {
            let letters = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
            });
            (StatusCode::INTERNAL_SERVER_ERROR, Body::from_stream(letters)).into_response()
        }
    }
}
