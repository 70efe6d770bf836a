//! Names that an earlier version folded are folded anew, month by month, by one daemon at a time.

use std::time::Duration;

use chrono::NaiveDate;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics,
    service::{ServiceError, Upkeep},
};

/// The lease of the daemon that folds. It only spares the others the work.
const LEASE: &str = "names";
const LEASE_LASTS: Duration = Duration::from_secs(60);

/// Orders that one transaction looks at. Their writers wait for it.
const ORDERS_A_PIECE: u32 = 1000;

/// The pieces of one run.
const PIECES_A_RUN: usize = 20;

/// A daemon of an earlier version that was seen within this time may still write.
const WRITES_FOR: Duration = Duration::from_secs(30);

impl Upkeep {
    /// Does a bounded part of what is left, the newest month first. Answers with whether to look again at once. While a
    /// daemon of an earlier version runs, nothing is done: it would write names in its way behind this one's back, and not
    /// find what is folded anew.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable; the next run goes on where this one ended.
    pub(crate) async fn fold_names(&self, stop: &CancellationToken) -> Result<bool, ServiceError> {
        let months = self.ledger.folded_months().await?;
        let left: Vec<NaiveDate> = months.iter().filter(|(_, is_folded)| !is_folded).map(|(month, _)| *month).collect();
        metrics::months_to_fold(left.len());
        if left.is_empty() {
            // Without a month, this is a ledger whose first ones are being made.
            return Ok(months.is_empty());
        }
        if self.ledger.folds_the_earlier_way(WRITES_FOR).await? {
            tracing::debug!("names are folded anew once no daemon of an earlier version runs");
            return Ok(false);
        }
        let mut left = left.into_iter();
        let mut month = left.next();
        let (mut renewed, mut leads) = (0, false);
        for _ in 0..PIECES_A_RUN {
            let Some(first_day) = month else { break };
            if stop.is_cancelled() {
                break;
            }
            let piece = self.ledger.fold_piece(first_day, ORDERS_A_PIECE).await?;
            renewed += piece.renewed;
            if !piece.is_last && !leads {
                // Months with little or nothing in them are done without.
                leads = self.ledger.take_lease(LEASE, self.daemon, LEASE_LASTS).await?;
                if !leads {
                    return Ok(false);
                }
            }
            if piece.is_last {
                month = left.next();
                metrics::months_to_fold(left.len() + usize::from(month.is_some()));
            }
        }
        if renewed > 0 {
            tracing::info!(renewed, months_left = left.len() + usize::from(month.is_some()), "names were folded anew");
        }
        if month.is_none() {
            self.give_back_names().await;
        }
        // Months may have been made meanwhile.
        Ok(true)
    }

    /// Lets another daemon go on.
    pub(crate) async fn give_back_names(&self) {
        if let Err(error) = self.ledger.give_back_lease(LEASE, self.daemon).await {
            tracing::debug!(%error, "the lease on the folding of names will run out");
        }
    }
}
