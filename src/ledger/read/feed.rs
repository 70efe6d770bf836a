//! What a feed has missed, from the audit log.

use crate::{
    domain::{FeedPosition, PartitionId, RecordedEvent, RestaurantId, Timestamp},
    ledger::{
        Ledger, LedgerError,
        read::audit::{EventRow, into_events},
    },
};

impl Ledger {
    /// The events of a partition behind a position and up to a sequence of the same generation, in order, at most `limit`:
    /// those of one restaurant, or of all. Only those since an instant, so that few months are looked at. The first one of
    /// the partition is always among them, unless it is older or was dropped: where it is, all of them are.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub(crate) async fn events_between(
        &self,
        partition: PartitionId,
        last: FeedPosition,
        up_to: u64,
        restaurant: Option<RestaurantId>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, LedgerError> {
        let rows = sqlx::query_as!(
            EventRow,
            r#"SELECT partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
                      display_order_number, status_before, status_after, version, actor, request_id, detail,
                      true AS "passes!", 0::bigint AS "looked_at!"
               FROM order_events
               WHERE partition = $1 AND generation = $2 AND sequence > $3 AND sequence <= $4
                 AND occurred_at >= $5
                 AND ($6::integer IS NULL OR restaurant_id = $6 OR sequence = $3 + 1)
               ORDER BY sequence LIMIT $7"#,
            partition.as_i16(),
            last.generation.cast_signed(),
            last.sequence.cast_signed(),
            up_to.cast_signed(),
            since.to_datetime(),
            restaurant.map(RestaurantId::as_i32),
            i64::try_from(limit).unwrap_or(i64::MAX)
        );
        into_events(self.in_time(rows.fetch_all(self.single())).await?)
    }
}
