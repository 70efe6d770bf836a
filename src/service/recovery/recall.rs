//! What daemons remember, and say again: one saw acknowledged what Redis lost before the ledger had it. All of them take part
//! in a rebuild, whichever one builds, since what one of them acknowledged another one must not deny.

use std::{
    collections::HashSet,
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::daemons::DAEMON_SEEN_WITHIN;
use crate::{
    allocator::{Build, Restated},
    domain::{Context, Order, OrderId, PartitionId, PoolSettings, SettingsChange, Stage},
    metrics,
    service::{Recovery, ServiceError},
};

/// How long a builder waits for what other daemons remember: one that hangs is not waited for, and says it later.
const RECALL_WITHIN: Duration = Duration::from_secs(5);

/// How long a builder remembers that a daemon did not answer it.
const IMPATIENT_FOR: Duration = Duration::from_secs(30);

impl Recovery {
    /// Says again what this daemon saw acknowledged before a generation and no server has: Redis lost it before the
    /// ledger had it. It is in Redis, and on its way to the ledger, when this returns.
    pub(super) async fn restate(&self, build: &Build) -> Result<(), ServiceError> {
        self.say_again(build, false).await.map(drop)
    }

    /// As [`Recovery::restate`]; where this is `patient`, but for those orders whose numbers have other holders, of which
    /// another daemon may know that they have ended. True where there are such.
    pub(super) async fn say_again(&self, build: &Build, patient: bool) -> Result<bool, ServiceError> {
        let Build { partition, generation, .. } = *build;
        let remembered = self.allocator.remembered_before(partition, generation);
        if remembered.is_empty() {
            self.report_without_number(partition, Vec::new());
            return Ok(false);
        }
        let ids: Vec<_> = remembered.iter().map(|order| order.id).collect();
        let known = self.ledger.stages(&ids).await?;
        let lost = |order: &Order| is_lost(order, known.get(&order.id).copied());
        let context = Context::of("recovery");
        let mut restated = self.allocator.restate(build, lost, patient, &context).await?;
        let unprovisioned = restated.extract_if(.., |(_, restated)| *restated == Restated::Unprovisioned);
        let unprovisioned: HashSet<_> = unprovisioned.map(|(order, _)| order.restaurant()).collect();
        if !unprovisioned.is_empty() {
            for restaurant in &unprovisioned {
                tracing::error!(%restaurant, "its settings were lost before the ledger had them: it has the defaults now");
                let settings =
                    SettingsChange { restaurant: *restaurant, settings: PoolSettings::default(), version: 1 };
                self.allocator.provision_lost(build, settings, &context).await?;
            }
            // What was said is not remembered from before any more: these are left.
            restated.extend(self.allocator.restate(build, lost, patient, &context).await?);
        }
        let (mut back, mut held, mut without_number) = (0, false, Vec::new());
        for (order, restated) in restated {
            match restated {
                Restated::Known | Restated::Unprovisioned => {}
                Restated::Held => held = true,
                Restated::Back(renumbered) => {
                    back += 1;
                    if let Some(found) = renumbered {
                        metrics::renumbered();
                        tracing::error!(
                            internal_order_id = %found.order, restaurant_id = found.order.restaurant().get(),
                            previous_number = %found.previous, keeper_order_id = %found.keeper,
                            "two live orders had one number: the later one was given a new one"
                        );
                    }
                }
                Restated::NoNumber => without_number.push(order),
            }
        }
        metrics::restated(back);
        self.report_without_number(partition, without_number);
        if back > 0 {
            tracing::warn!(%partition, orders = back, "orders that Redis had lost are back, as they were acknowledged");
        }
        Ok(held)
    }

    /// Orders that have no number yet keep being said again, each second, until one is free.
    fn report_without_number(&self, partition: PartitionId, orders: Vec<OrderId>) {
        let mut known = self.without_number.lock().unwrap_or_else(PoisonError::into_inner);
        for order in orders.iter().filter(|order| !known.contains(order)) {
            tracing::error!(
                internal_order_id = %order, restaurant_id = order.restaurant().get(),
                "an order that Redis lost waits for a number: its own has another holder, and none is free; release orders of \
                 its restaurant, or widen its range"
            );
        }
        known.retain(|order| self.allocator.partition_of(order.restaurant()) != partition);
        known.extend(orders);
        metrics::orders_without_number(known.len());
    }

    /// Waits until every other daemon that runs has said what it remembers, too: what one of them saw acknowledged must
    /// not be denied by another, nor changed, before it is back.
    pub(super) async fn await_recalls(&self, build: &Build) -> Result<(), ServiceError> {
        let Build { partition, generation, .. } = *build;
        self.allocator.invite(build).await?;
        let started = Instant::now();
        loop {
            let missing = self.ledger.recalls_missing(self.daemon, partition, generation, DAEMON_SEEN_WITHIN).await?;
            if missing == 0 {
                return Ok(());
            }
            if started.elapsed() > self.recall_patience() {
                tracing::warn!(%partition, daemons = missing, "not waiting any longer for what other daemons remember");
                *self.impatient_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A daemon that did not answer for one partition is not waited for as long for the next one.
    fn recall_patience(&self) -> Duration {
        let impatient_since = *self.impatient_since.lock().unwrap_or_else(PoisonError::into_inner);
        match impatient_since {
            Some(since) if since.elapsed() < IMPATIENT_FOR => RECALL_WITHIN / 4,
            _ => RECALL_WITHIN,
        }
    }
}

/// Whether the ledger lacks what is remembered of an order, by how far it has come there.
fn is_lost(order: &Order, known: Option<Stage>) -> bool {
    known.is_none_or(|known| order.stage().supersedes(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OrderStatus, Reopening, RestaurantId, Timestamp};

    #[test]
    fn what_has_ended_is_not_said_to_be_live_again_unless_it_was_reopened() {
        let at = Timestamp::from_unix_ms(1);
        let order = |reopenings, version, status| Order {
            id: OrderId::new(at, RestaurantId::new(7).expect("valid"), 1),
            number: None,
            given_at: None,
            format: "{n}".parse().expect("valid"),
            range: None,
            choice: crate::domain::Choice::Next,
            business_day: None,
            legacy_number: None,
            old_number: None,
            status,
            details: crate::domain::OrderDetails::default(),
            updated_at: at,
            released_at: None,
            calls: None,
            reopening: (reopenings > 0).then_some(Reopening { count: reopenings, at }),
            cooldown_seconds: 0,
            version,
            sequence: 1,
        };
        let known = |reopenings, has_ended, version| Some(Stage { reopenings, has_ended, version });
        let (live, ended) = (order(0, 3, OrderStatus::Ready), order(0, 3, OrderStatus::Completed));
        assert!(is_lost(&live, None) && is_lost(&live, known(0, false, 2)));
        assert!(!is_lost(&live, known(0, false, 3)));
        assert!(!is_lost(&live, known(0, true, 2)), "others ended it");
        assert!(is_lost(&ended, known(0, false, 4)), "others went on with it");
        assert!(!is_lost(&ended, known(0, true, 2)));
        let reopened = order(1, 4, OrderStatus::Preparing);
        assert!(is_lost(&reopened, known(0, true, 3)), "the end before it does not win");
        assert!(!is_lost(&ended, known(1, false, 4)) && !is_lost(&reopened, known(1, true, 5)));
    }
}
