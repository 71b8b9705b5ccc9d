//! Traces: which span what happens here belongs to, and who is told of spans that ended.

use std::time::Duration;

use purlin_domain::{Json, Timestamp, event::Cause, id::UserId, trace::Trace};

use crate::Platform;

/// What a span is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a request.
    Server,
    /// Sends one.
    Client,
    /// Does what was left to be done.
    Consumer,
    /// A part of another.
    Internal,
}

/// What is told of a span beside its place and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What was done, in few words; of few different ones.
    pub name: String,
    /// What it is to others.
    pub kind: SpanKind,
    /// How it failed, where it did: a word, not a message, which may hold what is a tenant's.
    pub error: Option<&'static str>,
    /// More about it, by the names of OpenTelemetry where it has one.
    pub attributes: Vec<(&'static str, Json)>,
}

impl Span {
    /// One that went well.
    pub fn new(name: impl Into<String>, kind: SpanKind) -> Self {
        Self { name: name.into(), kind, error: None, attributes: Vec::new() }
    }

    /// With this about it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// Which failed so, where it did.
    #[must_use]
    pub fn failed(self, error: Option<&'static str>) -> Self {
        Self { error, ..self }
    }
}

/// Collects spans.
pub trait CollectSpans: Send + Sync {
    /// Take a span that ended at this instant and took so long. Called while somebody waits for
    /// an answer: it may lose the span, and may not wait.
    fn take(&self, trace: Trace, ended: Timestamp, took: Duration, span: Span);
}

impl Platform {
    /// A span of its own within this one; the first of a new trace where there is none.
    pub fn open_trace(&self, within: Option<Trace>) -> Trace {
        let span = self.clock.id();
        // Of a trace that begins here, spans are collected where anybody does.
        within.map_or_else(|| Trace::begin(self.clock.id(), span, self.spans.is_some()), |trace| trace.child(span))
    }

    /// Tell whoever collects spans of one that ended now; made up only where somebody does.
    pub fn span_ended(&self, trace: Trace, took: Duration, span: impl FnOnce() -> Span) {
        if let Some(spans) = self.spans.as_ref().filter(|_| trace.is_sampled()) {
            spans.take(trace, self.now(), took, span());
        }
    }

    /// The same of one within this span that needs no place before it ends.
    pub(crate) fn part_ended(&self, of: Trace, took: Duration, span: impl FnOnce() -> Span) {
        if self.spans.is_some() && of.is_sampled() {
            self.span_ended(self.open_trace(Some(of)), took, span);
        }
    }

    /// The begin of a chain within this span, or of a trace too.
    pub(crate) fn first_cause(&self, user: Option<UserId>, trace: Option<Trace>) -> Cause {
        Cause::first(user, self.clock.id(), trace.unwrap_or_else(|| self.open_trace(None)))
    }
}
