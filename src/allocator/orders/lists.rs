//! Lists of orders, as screens ask for them: shared among those that ask, read over a lane of their own and in bounded
//! pieces. So a restaurant with thousands of orders, and a hundred screens that look at them, do not hold up the tills.

use std::{collections::BTreeMap, sync::Arc};

use super::joined::Joined;
use crate::{
    allocator::{
        Allocator, AllocatorError,
        script::{
            record::{self, Packed},
            reply::{Read, id_of},
        },
    },
    domain::{Order, OrderId, OrderStatus, RestaurantId},
};

/// Orders of one piece. Each may have three kilobytes of text: decoding them is some hundreds of microseconds.
const PIECE: usize = 200;

/// Ids that one command may read: some hundreds of microseconds, too.
const IDS_AT_ONCE: usize = 5_000;

/// Orders that a reader may share.
type Found = Result<Arc<Vec<Order>>, AllocatorError>;

/// What is read of a restaurant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kept {
    Live,
    Finished,
}

/// A part of a list of live orders: those with these statuses (none: all) behind an order, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LivePage {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// Only these; empty for all.
    pub statuses: Vec<OrderStatus>,
    /// Only those that are newer.
    pub after: Option<OrderId>,
    /// At most so many.
    pub limit: usize,
}

/// The lists that are being read.
pub(in crate::allocator) struct Lists {
    whole: Joined<(RestaurantId, Kept), Found>,
    ids: Joined<RestaurantId, Result<Arc<Vec<OrderId>>, AllocatorError>>,
    pages: Joined<LivePage, Found>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { whole: Joined::new(), ids: Joined::new(), pages: Joined::new() }
    }
}

impl Allocator {
    /// All live orders of a restaurant, oldest first. May be those that others asked for; then they were read afterwards.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn live_orders(&self, restaurant: RestaurantId) -> Found {
        self.whole(restaurant, Kept::Live).await
    }

    /// The finished orders of a restaurant that are still here, oldest first: all that the ledger may not have. As
    /// [`Allocator::live_orders`].
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn kept_orders(&self, restaurant: RestaurantId) -> Found {
        self.whole(restaurant, Kept::Finished).await
    }

    async fn whole(&self, restaurant: RestaurantId, kept: Kept) -> Found {
        let allocator = self.clone();
        let read = || async move {
            let key = match kept {
                Kept::Live => allocator.keys.order(restaurant),
                Kept::Finished => allocator.keys.done(restaurant),
            };
            let orders = allocator.scan(restaurant, &key, decode_field).await?;
            Ok(Arc::new(orders.into_values().collect()))
        };
        self.lists.whole.read((restaurant, kept), read).await
    }

    /// Some live orders of a restaurant, oldest first: of the others only the ids are read. As [`Allocator::live_orders`].
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn live_page(&self, page: LivePage) -> Found {
        let (allocator, wanted) = (self.clone(), page.clone());
        let read = || async move { allocator.read_page(&wanted).await.map(Arc::new) };
        self.lists.pages.read(page, read).await
    }

    async fn read_page(&self, page: &LivePage) -> Result<Vec<Order>, AllocatorError> {
        let ids = self.live_ids(page.restaurant).await?;
        let behind = ids.partition_point(|id| page.after.is_some_and(|after| *id <= after));
        let wanted = |order: &Order| page.statuses.is_empty() || page.statuses.contains(&order.status);
        let mut found = Vec::new();
        let mut rest = ids.get(behind..).unwrap_or_default();
        while found.len() < page.limit && !rest.is_empty() {
            let piece =
                rest.len().min(if page.statuses.is_empty() { page.limit - found.len() } else { PIECE }).min(PIECE);
            let (some, others) = rest.split_at(piece);
            found.extend(self.live_ones(page.restaurant, some).await?.into_iter().filter(&wanted));
            rest = others;
        }
        found.truncate(page.limit);
        Ok(found)
    }

    /// The ids of all live orders of a restaurant, ascending.
    pub(in crate::allocator) async fn live_ids(
        &self,
        restaurant: RestaurantId,
    ) -> Result<Arc<Vec<OrderId>>, AllocatorError> {
        let allocator = self.clone();
        let read = || async move { allocator.read_ids(restaurant).await.map(Arc::new) };
        self.lists.ids.read(restaurant, read).await
    }

    async fn read_ids(&self, restaurant: RestaurantId) -> Result<Vec<OrderId>, AllocatorError> {
        let key = self.keys.order(restaurant);
        let partition = self.partition_of(restaurant);
        let permit = self.connections.permit_for_list(partition).await?;
        let fence = self.partitions.fence(partition)?;
        let mut reads = redis::pipe();
        reads.cmd("HLEN").arg(&key);
        let (count,): (usize,) = self.read(&fence, Read::List, reads).await?;
        if count > IDS_AT_ONCE {
            drop(permit);
            // Before Redis 7.4, what is read in pieces comes with its values.
            let id = |id: &[u8], _: &[u8]| Ok((id_of(id)?, ()));
            return Ok(self.scan(restaurant, &key, id).await?.into_keys().collect());
        }
        let mut reads = redis::pipe();
        reads.cmd("HKEYS").arg(&key);
        let (ids,): (Vec<Vec<u8>>,) = self.read(&fence, Read::List, reads).await?;
        let mut ids = ids.iter().map(|id| id_of(id)).collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Those of these orders that are live still.
    async fn live_ones(&self, restaurant: RestaurantId, ids: &[OrderId]) -> Result<Vec<Order>, AllocatorError> {
        let partition = self.partition_of(restaurant);
        let _permit = self.connections.permit_for_list(partition).await?;
        let fence = self.partitions.fence(partition)?;
        let mut reads = redis::pipe();
        let read = reads.cmd("HMGET").arg(self.keys.order(restaurant));
        for id in ids {
            read.arg(id.as_bytes());
        }
        let (found,): (Vec<Option<Vec<u8>>>,) = self.read(&fence, Read::List, reads).await?;
        let live = ids.iter().zip(found).filter_map(|(id, packed)| Some(record::decode(*id, &packed?)));
        Ok(live.collect::<Result<_, _>>()?)
    }

    /// Reads a hash of a restaurant's orders in pieces. A piece may repeat what another had; ids sort by time.
    async fn scan<T>(
        &self,
        restaurant: RestaurantId,
        key: &str,
        decode: impl Fn(&[u8], &[u8]) -> Result<(OrderId, T), AllocatorError>,
    ) -> Result<BTreeMap<OrderId, T>, AllocatorError> {
        let partition = self.partition_of(restaurant);
        let fence = self.partitions.fence(partition)?;
        let mut found = BTreeMap::new();
        let mut cursor = 0_u64;
        loop {
            let permit = self.connections.permit_for_list(partition).await?;
            let mut reads = redis::pipe();
            reads.cmd("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(PIECE);
            let ((next, fields),): ((u64, Packed),) = self.read(&fence, Read::List, reads).await?;
            for (id, packed) in fields {
                let (id, one) = decode(&id, &packed)?;
                found.insert(id, one);
            }
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
            drop(permit);
            // What else waits for this processor goes first.
            tokio::task::yield_now().await;
        }
    }
}

fn decode_field(id: &[u8], packed: &[u8]) -> Result<(OrderId, Order), AllocatorError> {
    let id = id_of(id)?;
    Ok((id, record::decode(id, packed)?))
}
