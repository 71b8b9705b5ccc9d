//! Spans for a collector: OTLP over HTTP, in batches, from a thread of its own.
//!
//! Spans come with their ids, since events and jobs have kept those; so they are handed to the
//! processor as they are, rather than made by a tracer, which would make up ids of its own.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{self, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor},
};
use purlin_domain::{Json, Timestamp, trace::Trace};
use purlin_service::trace::{CollectSpans, Span, SpanKind};
use uuid::Uuid;

/// Where spans are posted to, below the collector's address.
const PATH: &str = "/v1/traces";
/// Spans that wait to be sent; more are dropped.
const QUEUE_MAX: usize = 8_192;
const BATCH_MAX: usize = 512;
/// A batch is sent when it is full, and at least this often.
const SENT_EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long what waits may take to be sent when the host stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Sends spans to a collector.
#[derive(Debug)]
pub(crate) struct Otlp {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Otlp {
    /// To the collector at this address, as this boot of this process.
    pub(crate) fn open(endpoint: &str, instance: Uuid) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| format!("otlp_endpoint: {error}"))?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(SENT_EVERY)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let version = env!("CARGO_PKG_VERSION");
        let about = [
            KeyValue::new("service.name", "purlin"),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", instance.to_string()),
        ];
        processor.set_resource(&Resource::builder_empty().with_attributes(about).build());
        Ok(Self { processor, scope: InstrumentationScope::builder("purlin").with_version(version).build() })
    }

    /// Send what waits, and no more after it. Blocks.
    pub(crate) fn close(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

impl CollectSpans for Otlp {
    fn take(&self, trace: Trace, ended: Timestamp, took: Duration, span: Span) {
        let id = |bytes| SpanId::from_bytes(bytes);
        let flags = TraceFlags::default().with_sampled(trace.is_sampled());
        let end_time = SystemTime::from(ended);
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(trace.id_bytes()),
                id(trace.span_bytes()),
                flags,
                false,
                TraceState::NONE,
            ),
            parent_span_id: trace.parent_bytes().map_or(SpanId::INVALID, id),
            // Of a request and of what was left to be done, another process has the parent.
            parent_span_is_remote: matches!(span.kind, SpanKind::Server | SpanKind::Consumer),
            span_kind: kind(span.kind),
            name: span.name.into(),
            start_time: end_time.checked_sub(took).unwrap_or(end_time),
            end_time,
            attributes: span
                .attributes
                .into_iter()
                .filter_map(|(name, v)| Some(KeyValue::new(name, value(v)?)))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }
}

fn kind(kind: SpanKind) -> trace::SpanKind {
    match kind {
        SpanKind::Server => trace::SpanKind::Server,
        SpanKind::Client => trace::SpanKind::Client,
        SpanKind::Consumer => trace::SpanKind::Consumer,
        SpanKind::Internal => trace::SpanKind::Internal,
    }
}

/// A value as OpenTelemetry has it; none for null.
fn value(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(is) => is.into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.into(),
        other => other.to_string().into(),
    })
}
