//! Named points at which a test ends the process, as a crash there would. Release builds have none.

/// The variable that says where: the name of a point, a colon, and at which passing. `before_reply:200`
pub const VARIABLE: &str = "NOWSERVING_FAILPOINT";

/// Passes a point; this may be the end.
#[cfg(not(debug_assertions))]
pub(crate) fn pass(_point: &str) {}

/// Passes a point; this may be the end.
#[cfg(debug_assertions)]
pub(crate) fn pass(point: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let chosen = std::env::var(VARIABLE).ok()?;
        let (point, passing) = chosen.split_once(':')?;
        Some((point.to_owned(), AtomicU64::new(passing.parse().ok()?)))
    });
    let Some((_, left)) = CHOSEN.as_ref().filter(|(chosen, _)| chosen == point) else { return };
    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Not abort: no handler, no core, nothing flushed.
        let ourselves = nix::unistd::Pid::this();
        let _ = nix::sys::signal::kill(ourselves, nix::sys::signal::Signal::SIGKILL);
    }
}
