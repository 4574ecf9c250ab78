//! The names of all metrics. They are counted where things happen, and never labelled by user.
//!
//! | name | what |
//! |---|---|
//! | `outlay_requests_total` | answers, by route and status class |
//! | `outlay_request_duration_seconds` | time until an answer begins, by route |
//! | `outlay_refused_credentials_total` | keys and tokens that were shown and not known |
//! | `outlay_batches_total`, `outlay_commands_total` | what the writer committed |
//! | `outlay_queued_commands` | what waits for it |
//! | `outlay_operations_total`, `outlay_users_total`, `outlay_sessions_total` | what is recorded |
//! | `outlay_trimmed_operations_total`, `outlay_trimmed_before_timestamp_seconds` | how many retention has emptied, and up to when; the latter once it has looked |
//! | `outlay_event_streams` | event streams that are open |
//! | `outlay_deliveries_total` | tries to tell somebody, by `kind` (webhook, mail) and `result` (delivered, retried, failed) |
//! | `outlay_deliveries_pending` | deliveries that wait to be sent, or sent again |
//! | `outlay_deliveries_oldest_pending_seconds` | how long the oldest of them has waited |
//! | `outlay_ready` | 1 when the store takes writes |
//! | `outlay_build_info` | 1, with the program's version |
//! | `outlay_...` | the store's own figures |
//! | `process_...` | those of the process, on Linux ([`process`]) |

#[cfg(target_os = "linux")]
mod process;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::store::Reads;
use crate::writer::Writer;

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram, fn() -> Histogram>,
    refused_credentials: Counter,
    deliveries: Family<Delivered, Counter>,
    pending: Gauge,
    oldest_pending: Gauge,
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// By HTTP.
    Webhook,
    /// By mail.
    Mail,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Retried,
    /// It is tried no more.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    kind: &'static str,
    result: &'static str,
}

impl Channel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }
}

impl Sent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: &'static str,
}

/// What is counted of one route; made once, so that a request looks nothing up.
#[derive(Debug)]
pub struct RouteMetrics {
    /// By status class: 2xx, 3xx, 4xx, 5xx.
    answers: [Counter; 4],
    seconds: Histogram,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// The metrics of a service with this writer and store.
    pub fn new(writer: &Writer, reads: &Arc<dyn Reads>) -> Self {
        let mut whole = Registry::default();
        #[cfg(target_os = "linux")]
        whole.register_collector(Box::new(process::OfProcess));
        let registry = whole.sub_registry_with_prefix("outlay");
        registry.register("build", "The program that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let requests = Family::default();
        registry.register("requests", "Answers given, by route and status class", requests.clone());
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "Time until an answer began, by route";
        registry.register_with_unit("request_duration", help, Unit::Seconds, seconds.clone());
        let refused_credentials = Counter::default();
        let help = "Keys and tokens that were shown and are not known";
        registry.register("refused_credentials", help, refused_credentials.clone());
        let deliveries = Family::<Delivered, Counter>::default();
        for kind in [Channel::Webhook, Channel::Mail].map(Channel::as_str) {
            for result in [Sent::Delivered, Sent::Retried, Sent::Failed].map(Sent::as_str) {
                // From zero on: of a counter that begins with its first failure no increase is seen.
                drop(deliveries.get_or_create(&Delivered { kind, result }));
            }
        }
        registry.register("deliveries", "Tries to tell somebody, by kind and result", deliveries.clone());
        let (pending, oldest_pending) = (Gauge::default(), Gauge::default());
        registry.register("deliveries_pending", "Deliveries that wait to be sent, or sent again", pending.clone());
        let help = "How long the oldest delivery that waits has waited";
        registry.register_with_unit("deliveries_oldest_pending", help, Unit::Seconds, oldest_pending.clone());
        registry.register_collector(Box::new(Figures { writer: writer.clone(), reads: Arc::clone(reads) }));
        Self { registry: whole, requests, seconds, refused_credentials, deliveries, pending, oldest_pending }
    }

    /// What is counted of one route.
    pub fn of_route(&self, method: &'static str, route: &'static str) -> RouteMetrics {
        let answers = CLASSES.map(|status| self.requests.get_or_create_owned(&Answered { method, route, status }));
        RouteMetrics { answers, seconds: self.seconds.get_or_create_owned(&Asked { method, route }) }
    }

    /// Counts a key or token that is not known.
    pub fn refused_credential(&self) {
        self.refused_credentials.inc();
    }

    /// Counts a try to tell somebody.
    pub fn delivery(&self, kind: Channel, result: Sent) {
        self.deliveries.get_or_create(&Delivered { kind: kind.as_str(), result: result.as_str() }).inc();
    }

    /// Says how much waits to be sent.
    pub fn deliveries_waiting(&self, count: u64, oldest_seconds: i64) {
        self.pending.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.oldest_pending.set(oldest_seconds);
    }

    /// All metrics as text in the form of `OpenMetrics`.
    ///
    /// # Errors
    /// When a figure cannot be written, which is a bug.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl RouteMetrics {
    /// Counts an answer.
    pub fn answered(&self, status: http::StatusCode, seconds: f64) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        if let Some(counter) = self.answers.get(class) {
            counter.inc();
        }
        self.seconds.observe(seconds);
    }
}

/// From a check in memory to an export's begin.
fn histogram() -> Histogram {
    Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0])
}

/// What is asked of the writer and the store at each scrape.
#[derive(Debug)]
struct Figures {
    writer: Writer,
    reads: Arc<dyn Reads>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.writer.counts();
        let status = self.reads.status();
        let ready = status.not_ready.is_none() && !self.writer.is_poisoned();
        let counters = [
            ("batches", "Batches committed since the start", counts.batches as u64),
            ("commands", "Commands committed since the start", counts.commands as u64),
            ("operations", "Operations recorded in the store", status.operations),
            ("users", "Users seen by the store", status.users),
            ("sessions", "Sessions seen by the store", status.sessions),
            ("trimmed_operations", "Operations that retention has emptied of their details", status.trimmed),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let gauges = [
            ("queued_commands", "Commands that wait to be committed", counts.queued as u64),
            ("event_streams", "Event streams that are open", self.reads.feed().watchers() as u64),
            ("ready", "1 when the store takes writes", u64::from(ready)),
            ("clock_jump", "1 while a forward jump of the clock is not believed", u64::from(status.clock_jump)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        if let Some(before) = status.trimmed_before {
            let help = "Operations recorded before this instant are emptied of their details, in seconds since 1970";
            let gauge = ConstGauge::new(before.seconds());
            let name = "trimmed_before_timestamp_seconds";
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in status.gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
