//! Traces of requests for an OpenTelemetry collector, where one is named.
//!
//! A request is traced if its caller traces it: a sampled `traceparent` asks for it. So the application decides how many there
//! are, and its own trace goes on in here. A span names the route, and nobody. What the collector does not take in time is
//! dropped: nothing waits for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use outlay_core::month::Timestamp;
use thiserror::Error;
use tokio::runtime::Handle;

use crate::client::https_client;
use crate::ids::RequestId;

/// How long the collector may take with one batch.
const EXPORT_WAIT: Duration = Duration::from_secs(10);

/// Why nothing can be exported.
#[derive(Debug, Error)]
#[error("prepare the export of traces: {0}")]
pub struct TracesError(String);

impl From<ExporterBuildError> for TracesError {
    fn from(error: ExporterBuildError) -> Self {
        Self(error.to_string())
    }
}

/// What exports traces.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

/// The span of a caller that is to go on here.
#[derive(Debug)]
pub struct Parent(Context);

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Its method.
    pub method: &'static str,
    /// Its route, with names in the place of ids.
    pub route: &'static str,
    /// How it was answered.
    pub status: StatusCode,
    /// By which it is found in the log.
    pub request_id: RequestId,
    /// When the answer began.
    pub at: Timestamp,
    /// How long that took.
    pub took: Duration,
}

impl Traces {
    /// Exports to the collector at this address, such as `http://127.0.0.1:4318`, from a thread of its own.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn start(url: &str, runtime: Handle) -> Result<Self, TracesError> {
        let client = https_client().map_err(|error| TracesError(error.to_string()))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client { client, runtime })
            .with_endpoint(format!("{url}/v1/traces"))
            .with_timeout(EXPORT_WAIT)
            .build()?;
        let resource = Resource::builder().with_service_name("outlay");
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            // Only what a caller asked for comes here at all.
            .with_sampler(Sampler::AlwaysOn)
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("outlay");
        Ok(Self { provider, tracer, propagator: TraceContextPropagator::new() })
    }

    /// The caller's span, if these headers ask for a trace of the request.
    pub fn parent(&self, headers: &HeaderMap) -> Option<Parent> {
        let context = self.propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = context.span().span_context().clone();
        (span.is_valid() && span.is_sampled()).then_some(Parent(context))
    }

    /// Writes down an answered request as part of the caller's trace.
    pub fn answered(&self, parent: &Parent, answered: &Answered) {
        let Answered { method, route, status, request_id, at, took } = *answered;
        let ended = u64::try_from(at.nanos()).map_or(UNIX_EPOCH, |nanos| UNIX_EPOCH + Duration::from_nanos(nanos));
        let started = ended.checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        let span = self.tracer.span_builder(format!("{method} {route}")).with_kind(SpanKind::Server);
        let span = span.with_start_time(started).with_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            KeyValue::new("outlay.request.id", request_id.to_string()),
        ]);
        let mut span = span.start_with_context(&self.tracer, &parent.0);
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(ended);
    }

    /// Exports what is left, and ends. It blocks.
    pub fn close(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!("failed to export the last traces: {error}");
        }
    }
}

/// Sends batches on the server's runtime, for a thread that has none.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        // All of it over there: the thread that waits here has no runtime.
        let sent = self.runtime.spawn(async move {
            let exchanged = async {
                let answer = client.execute(request).await?;
                let status = answer.status();
                Ok::<_, reqwest::Error>((status, answer.bytes().await?))
            };
            tokio::time::timeout(EXPORT_WAIT, exchanged).await
        });
        let (status, body) = sent.await???;
        Ok(Response::builder().status(status).body(body)?)
    }
}
