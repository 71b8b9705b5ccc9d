//! Traces: which span what happens here belongs to.

use purlin_domain::{event::Cause, id::UserId, trace::Trace};

use crate::Platform;

impl Platform {
    /// A span of its own within this one; the first of a new trace where there is none.
    pub fn open_trace(&self, within: Option<Trace>) -> Trace {
        let span = self.clock.id();
        within.map_or_else(|| Trace::begin(self.clock.id(), span, false), |trace| trace.child(span))
    }

    /// The begin of a chain within this span, or of a trace too.
    pub(crate) fn first_cause(&self, user: Option<UserId>, trace: Option<Trace>) -> Cause {
        Cause::first(user, self.clock.id(), trace.unwrap_or_else(|| self.open_trace(None)))
    }
}
