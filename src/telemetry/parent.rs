//! The `traceparent` header (W3C Trace Context, level 1).

use std::str::FromStr;

/// The caller's span in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

/// A header that names no trace; the recommendation has it ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub(crate) struct NoTraceParent;

impl TraceParent {
    /// The whole trace; 128 bits, never zero.
    #[must_use]
    pub(crate) const fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The caller's own span; never zero.
    #[must_use]
    pub(crate) const fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the caller exports its part of the trace.
    #[must_use]
    pub(crate) const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// `00-<32 digits>-<16 digits>-<2 digits>`, in lower case; later versions may go on behind another hyphen.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(5, '-');
        let mut field = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(NoTraceParent)?;
            if !part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(NoTraceParent);
            }
            u128::from_str_radix(part, 16).map_err(|_| NoTraceParent)
        };
        let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let goes_on = parts.next().is_some();
        let span_id = u64::try_from(span_id).map_err(|_| NoTraceParent)?;
        if version == 0xff || version == 0 && goes_on || trace_id == 0 || span_id == 0 {
            return Err(NoTraceParent);
        }
        Ok(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_caller_is_read() {
        let parent: TraceParent = format!("00-{TRACE}-{SPAN}-01").parse().expect("the recommendation's own example");
        assert_eq!(format!("{:032x} {:016x}", parent.trace_id(), parent.span_id()), format!("{TRACE} {SPAN}"));
        assert!(parent.is_sampled());
        assert!(!format!("00-{TRACE}-{SPAN}-02").parse::<TraceParent>().expect("other flags").is_sampled());
        assert_eq!(format!("cc-{TRACE}-{SPAN}-01-what-comes-later").parse(), Ok(parent));
        assert_eq!(format!("cc-{TRACE}-{SPAN}-01").parse(), Ok(parent));
    }

    #[test]
    fn others_are_ignored() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("00-{}-{SPAN}-01", "é".repeat(16)),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NoTraceParent), "{bad}");
        }
    }
}
