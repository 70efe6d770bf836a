//! Times that scripts and daemons must agree on.

use std::time::Duration;

/// How long after an order id was made it may still be created. A call that was held up longer is refused: otherwise it
/// could bring an order back to life that has come and gone.
pub(super) const FRESHNESS: Duration = Duration::from_secs(10);

/// How far the clock of a daemon may be ahead of that of its master: it is put right each second, and by answers.
pub(super) const DRIFT: Duration = Duration::from_secs(1);

/// How long a finished order is kept after the ledger has it: for as long as a late repeat of a call may find it.
pub(crate) const KEPT_AFTER_DURABLE: Duration = Duration::from_secs(15);
const _: () = assert!(KEPT_AFTER_DURABLE.as_millis() > FRESHNESS.as_millis() + DRIFT.as_millis());
