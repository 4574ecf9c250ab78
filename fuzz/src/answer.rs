//! What a webhook's receiver answers, byte by byte: it took the message only where it says so, and of all else that it says
//! nothing is kept.

use std::cell::LazyCell;
use std::net::SocketAddr;
use std::time::Duration;

use outlay::config::receivers::WebhookAllow;
use outlay::delivery::webhook::{Sender, SigningSecret};
use outlay::delivery::{Failure, Tried};
use outlay_core::month::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const BODY: &[u8] = b"{}";
/// What a failure may say, where no status came.
const REASONS: [&str; 2] = ["did not answer in HTTP", "the connection broke before the answer"];

struct Receiver {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    at: SocketAddr,
    sender: Sender,
}

impl Receiver {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let at = listener.local_addr().expect("an address");
        let sender = Sender::new(&WebhookAllow::parse("127.0.0.1").expect("an address"));
        Self { runtime, listener, at, sender }
    }

    /// Sends a message, which is answered by these bytes.
    fn answering(&self, answer: &[u8]) -> Tried {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let (url, secrets) = (format!("http://{}/hooks", self.at), [secret]);
        let now = Timestamp::EPOCH.plus_seconds(1_760_380_376);
        let sending = self.sender.send(&url, &secrets, "alert_1", now, BODY.into());
        let receiving = async {
            let (mut stream, _) = self.listener.accept().await.expect("a connection");
            let mut message = Vec::new();
            while !message.ends_with(BODY) {
                assert_ne!(stream.read_buf(&mut message).await.expect("a message"), 0, "all of the message");
            }
            // Whoever has heard enough does not wait for the rest.
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        };
        self.runtime.block_on(async { tokio::join!(sending, receiving).0 })
    }
}

/// See the head of the file.
pub fn answer(data: &[u8]) {
    thread_local! {
        static RECEIVER: LazyCell<Receiver> = const { LazyCell::new(Receiver::start) };
    }
    let tried = RECEIVER.with(|receiver| receiver.answering(data));
    let said = String::from_utf8_lossy(data);
    let says =
        |status: u16| ["HTTP/1.1", "HTTP/1.0"].iter().any(|version| said.contains(&format!("{version} {status}")));
    match tried {
        Tried::Delivered { status: Some(status) } => {
            assert!((200..300).contains(&status) && says(status), "{status} of {said:?}");
        }
        Tried::Failed(Failure { status: Some(status), reason, retry_after, gone, kept }) => {
            assert!(!(200..300).contains(&status) && says(status), "{status} of {said:?}");
            let why = if (300..400).contains(&status) { ": a redirect, which is not followed" } else { "" };
            assert_eq!(reason, format!("answered {status}{why}"));
            assert!(retry_after.is_none_or(|wait| wait <= Duration::from_hours(24)), "{retry_after:?}");
            assert!(gone == (status == 410) && !kept, "{status}");
        }
        Tried::Failed(failure) => {
            assert!(REASONS.contains(&failure.reason.as_str()), "{failure:?} of {said:?}");
            assert_eq!(failure, Failure::passing(failure.reason.clone()), "{said:?}");
        }
        Tried::Delivered { status: None } => panic!("there is a status in HTTP"),
    }
}
