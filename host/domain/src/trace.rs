//! W3C Trace Context: which trace something belongs to, and which step of it.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A span of a trace: a request, a call of a plugin, a commit. As text it is a `traceparent`,
/// as the header and the attribute of events have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    /// The span that this one belongs to, where it was opened here.
    parent: Option<u64>,
    is_sampled: bool,
}

impl Trace {
    /// The first span of a new trace, from fresh ids.
    pub fn begin(id: Uuid, span: Uuid, is_sampled: bool) -> Self {
        Self { id: id.as_u128().max(1), span: random(span), parent: None, is_sampled }
    }

    /// A span within this one, from a fresh id.
    pub fn child(self, span: Uuid) -> Self {
        Self { span: random(span), parent: Some(self.span), ..self }
    }

    /// The trace, as 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// The trace as the bytes of its id.
    pub fn id_bytes(&self) -> [u8; 16] {
        self.id.to_be_bytes()
    }

    /// This span as the bytes of its id.
    pub fn span_bytes(&self) -> [u8; 8] {
        self.span.to_be_bytes()
    }

    /// The same of the span that this one belongs to.
    pub fn parent_bytes(&self) -> Option<[u8; 8]> {
        self.parent.map(u64::to_be_bytes)
    }

    /// Whether spans of it are collected, as whoever began it decided.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

/// The half of an id that says nothing of when it was made; never 0, which is no span.
fn random(id: Uuid) -> u64 {
    id.as_u64_pair().1.max(1)
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, u8::from(self.is_sampled))
    }
}

/// What a text is that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent as W3C Trace Context has it")]
pub struct NotTraceparent;

impl FromStr for Trace {
    type Err = NotTraceparent;

    /// Of version 00 exactly; of a later one what this one knows of it.
    fn from_str(text: &str) -> Result<Self, NotTraceparent> {
        let mut fields = text.splitn(5, '-');
        let mut field = |digits| fields.next().and_then(|field| number(field, digits)).ok_or(NotTraceparent);
        let (version, id, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let span = u64::try_from(span).map_err(|_| NotTraceparent)?;
        let has_more = fields.next().is_some();
        if version == 0xff || (version == 0 && has_more) || id == 0 || span == 0 {
            return Err(NotTraceparent);
        }
        Ok(Self { id, span, parent: None, is_sampled: flags & 1 == 1 })
    }
}

/// A field of so many hexadecimal digits, in lower case.
fn number(field: &str, digits: usize) -> Option<u128> {
    let is_hex = field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if field.len() == digits && is_hex { u128::from_str_radix(field, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_the_same() {
        let trace: Trace = GOOD.parse().unwrap();
        assert_eq!((trace.to_string().as_str(), trace.id().as_str()), (GOOD, "4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(trace.is_sampled());
        let unsampled: Trace = GOOD.replace("-01", "-00").parse().unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn flags_that_are_not_known_are_dropped() {
        let trace: Trace = GOOD.replace("-01", "-ff").parse().unwrap();
        assert_eq!(trace.to_string(), GOOD);
        let trace: Trace = GOOD.replace("-01", "-fe").parse().unwrap();
        assert!(!trace.is_sampled() && trace.to_string().ends_with("-00"));
    }

    #[test]
    fn what_the_standard_calls_invalid_is_none() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "0X-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(bad.parse::<Trace>(), Err(NotTraceparent), "{bad}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_taken() {
        for later in [GOOD.replacen("00", "01", 1), GOOD.replacen("00", "cc", 1) + "-what-the-future-brings"] {
            assert_eq!(later.parse::<Trace>().unwrap().to_string(), GOOD, "{later}");
        }
    }

    #[test]
    fn a_span_within_another_knows_it_and_is_of_the_same_trace() {
        let trace: Trace = GOOD.parse().unwrap();
        let child = trace.child(Uuid::from_u128(0xabc));
        assert_eq!((child.id(), child.is_sampled()), (trace.id(), true));
        assert_eq!((child.span_bytes(), child.parent_bytes()), (0xabc_u64.to_be_bytes(), Some(trace.span_bytes())));
        assert_eq!(trace.parent_bytes(), None);
    }

    #[test]
    fn no_id_makes_a_span_or_a_trace_that_is_none() {
        let trace = Trace::begin(Uuid::nil(), Uuid::nil(), false);
        assert!(trace.to_string().parse::<Trace>().is_ok(), "{trace}");
    }
}
