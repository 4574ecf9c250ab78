//! The API of one process, asked without a network: the real router, polled by hand.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt;
use outlay::clock::SharedClock;
use outlay::config::receivers::WebhookAllow;
use outlay::delivery::Senders;
use outlay::delivery::secrets::WebhookSecrets;
use outlay::http::auth::Access;
use outlay::http::{App, Peer, Presentation, Presented, router};
use outlay::ids::Ids;
use outlay::metrics::Metrics;
use outlay::store::StoreError;
use outlay::writer::WriteError;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::history::Shows;
use crate::service::{Make, Service, poll};

/// Rounds in which requests may wait for the writer: reads and a few writes of one request.
const ROUNDS_MAX: u32 = 100;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Its method.
    pub method: &'static str,
    /// Its path, and its query if it has one.
    pub path: String,
    /// Its body, if it has one.
    pub body: Option<Value>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status; 0 where the process ended before it answered.
    pub status: u16,
    /// The body, null where there is none.
    pub body: Value,
}

impl Reply {
    /// Whether it says that what was asked is done.
    pub fn is_acknowledged(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether what was asked may be done or not.
    pub fn is_unknown(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

/// A running process with its API.
#[derive(Debug)]
pub struct Wire {
    /// The process.
    pub service: Service,
    router: Router,
}

impl Wire {
    /// Starts the service on this disk. As in the program, what expired before is given back first.
    ///
    /// # Errors
    /// When the store cannot be opened, or fails at once.
    pub fn start(disk: &SimDisk, clock: &Arc<SimClock>, make: &Make) -> Result<Self, StoreError> {
        let mut service = Service::start(disk, clock, make)?;
        match service.sweep() {
            Ok(_) => {}
            Err(WriteError::Store(error)) => return Err(error),
            Err(error) => return Err(StoreError::Unavailable(error.to_string())),
        }
        let shared: SharedClock = Arc::<SimClock>::clone(clock);
        let app = App {
            metrics: Metrics::new(&service.writer, &service.reads),
            writer: service.writer.clone(),
            reads: Arc::clone(&service.reads),
            ids: Ids::from_seed(Arc::clone(&shared), make.seed),
            clock: shared,
            traces: None,
            presentation: Presented::new(Presentation::default()),
            retention: outlay::retention::Retention::default(),
            plans_are_configured: false,
            access: Access::keyed(),
            refusals: outlay::http::refusals::Refusals::default(),
            senders: Senders::without_mail(&WebhookAllow::default()),
            webhook_secrets: WebhookSecrets::default(),
            scratch: "scratch".into(),
            glance: outlay::http::events::Glance::default(),
            paces: outlay::http::paces::Paces::default(),
        };
        Ok(Self { service, router: router(Arc::new(app)) })
    }

    /// Sends requests at once, so that the writer finds them together, and gives the replies in the same order.
    pub fn ask_at_once(&mut self, asks: &[Ask]) -> Vec<Reply> {
        // Time limits ask for a timer, which nobody turns.
        let _entered = runtime().enter();
        let mut waiting: Vec<_> = asks.iter().map(|ask| send(self.router.clone(), ask)).collect();
        let mut replies: Vec<Option<Reply>> = vec![None; asks.len()];
        for _ in 0..ROUNDS_MAX {
            for (request, reply) in waiting.iter_mut().zip(&mut replies) {
                if reply.is_none() {
                    *reply = poll(request.as_mut());
                }
            }
            if replies.iter().all(Option::is_some) {
                break;
            }
            self.service.work();
        }
        replies.into_iter().map(|reply| reply.unwrap_or(Reply { status: 0, body: Value::Null })).collect()
    }

    /// Sends one request.
    pub fn ask(&mut self, ask: &Ask) -> Reply {
        let mut replies = self.ask_at_once(std::slice::from_ref(ask));
        replies.pop().expect("one request has one reply")
    }
}

impl Shows for Wire {
    fn get(&mut self, path: &str) -> Result<Value, String> {
        let reply = self.ask(&Ask { method: "GET", path: path.to_owned(), body: None });
        if reply.status == 200 { Ok(reply.body) } else { Err(format!("GET {path}: {} {}", reply.status, reply.body)) }
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_current_thread().enable_time().build().expect("a runtime needs no more than memory")
    })
}

fn send(router: Router, ask: &Ask) -> Pin<Box<dyn Future<Output = Reply>>> {
    let body = ask.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = Request::builder()
        .method(ask.method)
        .uri(ask.path.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .extension(Peer::Owner)
        .body(body)
        .expect("a scenario asks in sound requests");
    Box::pin(async move {
        let response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Reply { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    })
}
