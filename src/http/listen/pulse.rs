//! Where a connection stands, and since when: what its time limits are measured by.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// What a connection is doing. It costs a request three stores; no timer is set anew with each.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// Milliseconds since `born`, and in the lowest two bits the phase that began then.
    state: AtomicU64,
    /// How long an answer without end may be silent, in ms.
    silence_ms: AtomicU64,
}

const PHASE_BITS: u32 = 2;

/// Nothing has come since the last answer.
const IDLE: u64 = 0;
/// A part of a request's head has come, or the connection is new.
const HEAD: u64 = 1;
/// A request is being answered; its body and its answer have time limits of their own.
const BUSY: u64 = 2;

/// An answer without end is being sent; what was sent last has been taken since.
const STREAM: u64 = 3;

/// Marks an answer whose body has no end: its connection is not idle as long as the client takes what is sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Endless {
    /// So often, at least, something is sent.
    pub speaks_every: Duration,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before then.
    LookAgain(Instant),
    /// It has been without a request for too long, or its answer has not been read.
    Idle,
    /// The head of its request takes too long.
    TooSlow,
}

impl Pulse {
    pub(crate) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let (state, silence_ms) = (AtomicU64::new(HEAD), AtomicU64::new(0));
        Self { born: Instant::now(), header_timeout, idle_timeout, state, silence_ms }
    }

    /// Some bytes have come.
    fn bytes_are_here(&self) {
        if self.state.load(Ordering::Relaxed) & phase_mask() == IDLE {
            self.begin(HEAD);
        }
    }

    /// The head of a request is whole.
    pub(crate) fn request_is_here(&self) {
        self.begin(BUSY);
    }

    /// The answer is there, and only has to be sent.
    pub(crate) fn answer_is_here(&self) {
        self.begin(IDLE);
    }

    /// An answer without end is there.
    pub(crate) fn stream_is_here(&self, Endless { speaks_every }: Endless) {
        self.silence_ms.store(u64::try_from(speaks_every.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.begin(STREAM);
    }

    /// The client has taken some bytes.
    fn bytes_are_taken(&self) {
        if self.state.load(Ordering::Relaxed) & phase_mask() == STREAM {
            self.begin(STREAM);
        }
    }

    fn begin(&self, phase: u64) {
        let at = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Only the connection's own task writes and reads it.
        self.state.store(at << PHASE_BITS | phase, Ordering::Relaxed);
    }

    /// When to ask for the first verdict.
    pub(crate) fn next_look(&self) -> Instant {
        self.born + self.header_timeout
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let state = self.state.load(Ordering::Relaxed);
        let since = self.born + Duration::from_millis(state >> PHASE_BITS);
        let (deadline, late) = match state & phase_mask() {
            IDLE => (since + self.idle_timeout, Verdict::Idle),
            HEAD => (since + self.header_timeout, Verdict::TooSlow),
            // What was sent after the silence may wait for as long as any answer.
            STREAM => (since + self.silence() + self.idle_timeout, Verdict::TooSlow),
            _ => return Verdict::LookAgain(now + self.header_timeout.min(self.idle_timeout)),
        };
        if now >= deadline {
            return late;
        }
        // The head of a request may begin at any moment.
        Verdict::LookAgain(deadline.min(now + self.header_timeout))
    }
}

const fn phase_mask() -> u64 {
    (1 << PHASE_BITS) - 1
}

/// A connection whose reads are noticed. Nothing is read while what was written has not been taken. Otherwise a client
/// that sends requests and never reads the answers could make them pile up here.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
    write_blocked: bool,
    read_held_back: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, write_blocked: false, read_held_back: false }
    }

    /// Remembers whether the client takes what is written.
    fn written<T>(&mut self, context: &Context<'_>, written: Poll<T>) -> Poll<T> {
        self.write_blocked = written.is_pending();
        if written.is_ready() {
            self.pulse.bytes_are_taken();
        }
        if written.is_ready() && std::mem::take(&mut self.read_held_back) {
            // Nothing else wakes the reader that was told to wait.
            context.waker().wake_by_ref();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.write_blocked {
            self.read_held_back = true;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.bytes_are_here();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE_FOR: Duration = Duration::from_secs(60);

    /// A pulse, and an instant so long after its birth.
    fn pulse() -> (Pulse, impl Fn(u64) -> Instant) {
        let pulse = Pulse::new(HEADER, IDLE_FOR);
        let born = pulse.born;
        (pulse, move |seconds| born + Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_the_first_byte_on() {
        let (pulse, at) = pulse();
        assert_eq!(pulse.verdict(at(9)), Verdict::LookAgain(at(10)));
        assert_eq!(pulse.verdict(at(10)), Verdict::TooSlow);
        pulse.bytes_are_here();
        assert_eq!(pulse.verdict(at(10)), Verdict::TooSlow, "more bytes buy no more time");

        pulse.answer_is_here();
        pulse.bytes_are_here();
        // The phase began a moment after the birth.
        assert_eq!(pulse.verdict(at(9)), Verdict::LookAgain(pulse.born + HEADER + since(&pulse)));
        assert_eq!(pulse.verdict(at(11)), Verdict::TooSlow);
    }

    #[tokio::test]
    async fn between_requests_there_is_more_time() {
        let (pulse, at) = pulse();
        pulse.request_is_here();
        assert_eq!(pulse.verdict(at(1000)), Verdict::LookAgain(at(1010)), "an answer has limits of its own");
        pulse.answer_is_here();
        assert_eq!(pulse.verdict(at(30)), Verdict::LookAgain(at(40)));
        assert_eq!(pulse.verdict(at(61)), Verdict::Idle);
    }

    #[tokio::test]
    async fn a_stream_lasts_as_long_as_what_is_sent_is_taken() {
        let (pulse, at) = pulse();
        pulse.request_is_here();
        pulse.stream_is_here(Endless { speaks_every: Duration::from_secs(100) });
        assert_eq!(pulse.verdict(at(150)), Verdict::LookAgain(at(160)), "it is silent for longer than others may idle");
        assert_eq!(pulse.verdict(at(161)), Verdict::TooSlow);
        pulse.bytes_are_taken();
        pulse.bytes_are_here();
        assert_eq!(pulse.verdict(at(150)), Verdict::LookAgain(at(160)), "what the client sends makes no difference");
    }

    #[tokio::test]
    async fn nothing_is_read_while_answers_are_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Watched::new(near, Arc::new(pulse().0));
        far.write_all(b"ask").await.expect("room");
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut near).poll_write(context, b"answ").is_ready());
        assert!(Pin::new(&mut near).poll_write(context, b"er").is_pending());
        let mut bytes = [0; 8];
        assert!(Pin::new(&mut near).poll_read(context, &mut ReadBuf::new(&mut bytes)).is_pending());

        far.read_exact(&mut bytes[..4]).await.expect("what was written");
        near.write_all(b"er").await.expect("room");
        assert_eq!(near.read(&mut bytes).await.expect("what was sent"), 3);
    }

    fn since(pulse: &Pulse) -> Duration {
        Duration::from_millis(pulse.state.load(Ordering::Relaxed) >> PHASE_BITS)
    }
}
