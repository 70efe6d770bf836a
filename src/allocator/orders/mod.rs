//! Orders in Redis: created, changed, released and read.

pub(super) mod calls;
pub(super) mod joined;
pub(super) mod lists;

use super::{
    Allocator, AllocatorError,
    remembered::Remembered,
    script::{
        self, Call, Script, context_json,
        record::{self, NamesThere},
        reply::{Read, Reply},
    },
};
use crate::{
    domain::{
        BusinessDay, Context, DateRules, DisplayNumber, IdempotencyDigest, NumberState, Order, OrderDetails, OrderId,
        OrderSource, OrderStatus, OrderType, PartitionId, RangeId, RestaurantId, Timestamp,
        business_day::{date_of, days_of},
    },
    metrics,
};

/// Outcome of asking for a number.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub enum Allocated {
    /// A new order has it.
    New(Order),
    /// The idempotency key is known: this order, made with a body of this digest.
    Replayed {
        /// The order that the key made.
        id: OrderId,
        /// The digest of the body it was made with.
        body: [u8; 16],
    },
    /// Nothing is free.
    Exhausted {
        /// When the next number is; None where none of the pool rests.
        next_free_at: Option<Timestamp>,
        /// Redis's clock at the answer.
        now: Timestamp,
        /// The range that has nothing; None: the main one.
        range: Option<RangeId>,
    },
    /// The number that was asked for is not free.
    Taken {
        /// What it is doing.
        state: NumberState,
        /// Its holder or last holder, as far as Redis knows.
        holder: Option<OrderId>,
    },
    /// The restaurant has no settings yet: configure it, then ask again.
    Unprovisioned,
}

/// Outcome of changing a live order.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// As it stands now.
    Done(Order),
    /// This very call was made before, and its answer was lost: the order as it now stands, with what others changed since.
    Replayed {
        /// As it now stands.
        order: Order,
        /// The version that the call led to.
        version: u32,
    },
    /// It is final, and unchanged.
    Final(Order),
    /// Redis does not have it.
    Absent,
    /// It is at another version than the one expected.
    Version(Order),
    /// Its status may not be followed by the one asked for; or it is not old enough to be forgotten.
    Forbidden(Order),
}

/// Outcome of ending an order.
pub type Released = Changed;

/// Outcome of reopening a completed order.
#[derive(Debug, Clone, PartialEq)]
pub enum Reopened {
    /// It is live again, with its number.
    Done(Order),
    /// This very call was made before, and its answer was lost: as [`Changed::Replayed`].
    Replayed {
        /// As it now stands.
        order: Order,
        /// The version that the call led to.
        version: u32,
    },
    /// It is live, and unchanged.
    Live(Order),
    /// It has ended otherwise than completed, and stays so.
    Final(Order),
    /// Its number does not rest for it: the rest is over, or another order has had it since.
    MovedOn,
    /// Redis does not have it.
    Absent,
    /// It is at another version than the one expected.
    Version(Order),
}

/// Outcome of ending a number's rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycled {
    /// It was resting for this order, and is free now.
    Freed,
    /// This very call was made before, and its answer was lost.
    Replayed,
    /// It was free before; which order had it last, Redis may not know.
    AlreadyFree,
    /// It has had another holder since.
    MovedOn,
}

/// Outcome of taking over an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Restored {
    /// It is live now.
    New(Order),
    /// It was taken over before.
    Exists(Order),
    /// No number is free for it.
    Exhausted {
        /// When the next number is; None where none of the pool rests.
        next_free_at: Option<Timestamp>,
    },
    /// The restaurant has no settings yet.
    Unprovisioned,
}

/// A change of an order, as [`Allocator::transition`] and [`Allocator::release`] take it.
#[derive(Debug)]
pub struct OrderUpdate<'a> {
    /// The status to go to; None leaves it.
    pub status: Option<OrderStatus>,
    /// The version that must be found; None: any.
    pub expected_version: Option<u32>,
    /// The order with its new details; needs an expected version.
    pub rewritten: Option<&'a Order>,
    /// Who asks.
    pub context: &'a Context,
}

impl Allocator {
    /// Creates an order with the next free number of its restaurant.
    ///
    /// # Errors
    /// When Redis gives no usable answer; whether the order was made is then unknown.
    pub async fn allocate(
        &self,
        restaurant: RestaurantId,
        details: &OrderDetails,
        idempotency: Option<IdempotencyDigest>,
        context: &Context,
    ) -> Result<Allocated, AllocatorError> {
        self.allocate_wished(restaurant, details, None, idempotency, context).await
    }

    /// As [`Allocator::allocate`]; with a wish, with that number and no other.
    ///
    /// # Errors
    /// As [`Allocator::allocate`].
    pub async fn allocate_wished(
        &self,
        restaurant: RestaurantId,
        details: &OrderDetails,
        wished: Option<DisplayNumber>,
        idempotency: Option<IdempotencyDigest>,
        context: &Context,
    ) -> Result<Allocated, AllocatorError> {
        let asked = asked(details);
        let wished = wished.map_or(Vec::new(), |number| number.get().to_string().into_bytes());
        let mut next_day = Vec::new();
        let tail = record::tail_behind_range(NamesThere::default(), details);
        let partition = self.partition_of(restaurant);
        // A clock that was off is put right by the first answer, so a second `stale` is not the clock's fault. Nor does a
        // business date end twice in a row.
        for _ in 0..4 {
            let (created_at, micros) = self.connections.time(partition).await?;
            let id = OrderId::at(created_at, micros, restaurant, rand::random());
            let mut call = self
                .fenced(&script::ALLOCATE_ORDER, restaurant)?
                .arg(*id.as_bytes())
                .arg(tail.clone())
                .arg(context_json(context));
            call = call.arg(&asked);
            let [digests, times];
            (call, [digests, times]) = match idempotency {
                Some(digest) => self.idempotency_args(call, restaurant, digest, created_at),
                None => (call, Default::default()),
            };
            // Each argument has its price, so those at the end that say nothing are left out.
            let few_have = [&digests, &times, &next_day, &wished];
            let sent = few_have.iter().rposition(|argument| !argument.is_empty()).map_or(0, |last| last + 1);
            call = few_have.into_iter().take(sent).fold(call, Call::arg);
            let reply = self.run(call).await?;
            return match reply.name() {
                "ok" => {
                    let order = reply.order(1, id)?;
                    self.acknowledged(&reply, &order, idempotency)?;
                    for special in reply.text(2).unwrap_or_default().split_ascii_whitespace() {
                        match special {
                            "reset" => metrics::rings_reset(),
                            "cut" => metrics::rest_cut(),
                            "avoided" => metrics::pick_avoided(),
                            _ => {}
                        }
                    }
                    Ok(Allocated::New(order))
                }
                "date" => {
                    next_day = next_business_day(&reply)?;
                    continue;
                }
                "taken" => {
                    let holder = if reply.bytes(2)?.is_empty() { None } else { Some(reply.id(2)?) };
                    Ok(Allocated::Taken { state: reply.state(1)?, holder })
                }
                "replayed" => Ok(Allocated::Replayed {
                    id: reply.id(1)?,
                    body: reply.bytes(2)?.try_into().map_err(record::BadRecord::new)?,
                }),
                "exhausted" => {
                    let (next_free_at, now) = (reply.time(1)?, self.told(partition, &reply, 2)?);
                    Ok(Allocated::Exhausted { next_free_at, now, range: reply.text(3)?.parse().ok() })
                }
                "unprovisioned" => Ok(Allocated::Unprovisioned),
                "stale" => {
                    self.told(partition, &reply, 1)?;
                    // The first copy may have been served. With a key it is found under that; else it would be another order.
                    if reply.was_resent() && idempotency.is_none() {
                        return Err(AllocatorError::OutcomeUnknown("it was sent again, too late".to_owned()));
                    }
                    continue;
                }
                _ => reply.unknown(),
            };
        }
        Err(too_late())
    }

    /// The time that a reply tells.
    pub(super) fn told(&self, partition: PartitionId, reply: &Reply, at: usize) -> Result<Timestamp, AllocatorError> {
        let now = Timestamp::from_unix_ms(reply.int(at)?);
        self.connections.told(partition, now);
        Ok(now)
    }

    /// What identifies a call that changes something, and when it is made.
    async fn new_call(&self, partition: PartitionId) -> Result<[u8; 14], AllocatorError> {
        let (now, _) = self.connections.time(partition).await?;
        let mut call = [0; 14];
        call[..8].copy_from_slice(&rand::random::<[u8; 8]>());
        call[8..].copy_from_slice(&now.unix_ms().to_be_bytes()[2..]);
        Ok(call)
    }

    /// The keys of a key digest's buckets, and the arguments that go with them: digests, and the bucket's times. A span is
    /// as long as the window, so the window touches two buckets at most.
    fn idempotency_args(
        &self,
        mut call: Call,
        restaurant: RestaurantId,
        digest: IdempotencyDigest,
        now: Timestamp,
    ) -> (Call, [Vec<u8>; 2]) {
        let window_ms = self.idempotency_window_ms();
        let (bucket, _) = self.idempotency_bucket(now);
        for bucket in [bucket, bucket - 1] {
            call = call.key(self.keys.idem(restaurant, bucket));
        }
        let times = bucket_times([bucket * window_ms, (bucket + 1) * window_ms]);
        (call, [[digest.key, digest.body].concat(), times])
    }

    fn idempotency_window_ms(&self) -> i64 {
        i64::try_from(self.idempotency_window.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// The bucket of a key that was used at this instant, and the ms in which it goes: when its last key is out of the
    /// window.
    pub(super) fn idempotency_bucket(&self, at: Timestamp) -> (i64, i64) {
        let window_ms = self.idempotency_window_ms();
        let bucket = at.unix_ms() / window_ms;
        (bucket, (bucket + 2) * window_ms)
    }

    /// From when on idempotency keys count.
    ///
    /// # Errors
    /// As [`Allocator::now`].
    pub fn idempotency_since(&self) -> Result<Timestamp, AllocatorError> {
        Ok(self.now()?.plus_ms(-self.idempotency_window_ms()))
    }

    /// An order was changed: what the caller will be told is remembered until the ledger has it.
    fn acknowledged(
        &self,
        reply: &Reply,
        order: &Order,
        idempotency: Option<IdempotencyDigest>,
    ) -> Result<(), AllocatorError> {
        let partition = self.partition_of(order.restaurant());
        self.note(partition, reply, order.sequence);
        let (generation, packed) = (reply.generation(), reply.bytes(1)?.into());
        let change = Remembered { generation, sequence: order.sequence, id: order.id, packed, idempotency };
        self.remembered.push(partition, change);
        Ok(())
    }

    /// Changes a live order to another live status, its details, or both.
    ///
    /// # Errors
    /// When Redis gives no usable answer. Whether the change was made is then known, unless the error is
    /// [`AllocatorError::OutcomeUnknown`].
    pub async fn transition(&self, id: OrderId, update: OrderUpdate<'_>) -> Result<Changed, AllocatorError> {
        self.change(&script::CHANGE_ORDER, id, &update, &[]).await
    }

    /// Ends a live order and takes its number back. With `if_forgotten`, only if it is older than its restaurant's active
    /// window, which is judged where the order is.
    ///
    /// # Errors
    /// As [`Allocator::transition`].
    pub async fn release(
        &self,
        id: OrderId,
        update: OrderUpdate<'_>,
        immediate: bool,
        if_forgotten: bool,
    ) -> Result<Released, AllocatorError> {
        let flag = |set: bool| if set { "1" } else { "" };
        self.change(&script::RELEASE_ORDER, id, &update, &[flag(immediate), flag(if_forgotten)]).await
    }

    /// Completes an order that is served and was not changed since, if that is as long ago as its restaurant's settings say,
    /// which is judged where the order is.
    ///
    /// # Errors
    /// As [`Allocator::transition`].
    pub async fn complete_served(&self, id: OrderId, context: &Context) -> Result<Released, AllocatorError> {
        let status = Some(OrderStatus::Completed);
        let update = OrderUpdate { status, expected_version: None, rewritten: None, context };
        self.change(&script::RELEASE_ORDER, id, &update, &["", "2"]).await
    }

    async fn change(
        &self,
        script: &'static Script,
        id: OrderId,
        update: &OrderUpdate<'_>,
        flags: &[&str],
    ) -> Result<Changed, AllocatorError> {
        let restaurant = id.restaurant();
        let reply = self
            .run_in_time(self.partition_of(restaurant), |token| {
                let mut call = self
                    .fenced(script, restaurant)?
                    .arg(*id.as_bytes())
                    .arg(token)
                    .arg(update.status.map_or(String::new(), |status| record::status_code(status).to_string()))
                    .arg(update.expected_version.map_or(String::new(), |version| version.to_string()))
                    .arg(update.rewritten.map_or(Vec::new(), record::tail));
                for flag in flags {
                    call = call.arg(flag);
                }
                Ok(call.arg(context_json(update.context)))
            })
            .await?;
        self.changed(&reply, id)
    }

    /// Runs a call, and makes it anew where it comes too late to be served: then it was not made. Where it was sent twice, the
    /// first copy may have been.
    pub(super) async fn run_in_time(
        &self,
        partition: PartitionId,
        call: impl Fn([u8; 14]) -> Result<Call, AllocatorError>,
    ) -> Result<Reply, AllocatorError> {
        // A clock that was off is put right by the first answer.
        for _ in 0..3 {
            let reply = self.run(call(self.new_call(partition).await?)?).await?;
            if reply.name() != "late" {
                return Ok(reply);
            }
            self.told(partition, &reply, 1)?;
            if reply.was_resent() {
                return Err(AllocatorError::OutcomeUnknown("it was sent again, too late".to_owned()));
            }
        }
        Err(too_late())
    }

    fn changed(&self, reply: &Reply, id: OrderId) -> Result<Changed, AllocatorError> {
        match reply.name() {
            "absent" => return Ok(Changed::Absent),
            "busy" => return Err(AllocatorError::Busy),
            _ => {}
        }
        let order = reply.order(1, id)?;
        self.note(self.partition_of(id.restaurant()), reply, order.sequence);
        match reply.name() {
            "ok" => {
                self.acknowledged(reply, &order, None)?;
                Ok(Changed::Done(order))
            }
            "replayed" => {
                self.acknowledged(reply, &order, None)?;
                Ok(Changed::Replayed { order, version: reply.uint(2)? })
            }
            "final" => Ok(Changed::Final(order)),
            "version" => Ok(Changed::Version(order)),
            "forbidden" => Ok(Changed::Forbidden(order)),
            _ => reply.unknown(),
        }
    }

    /// Takes a completed order back to [`OrderStatus::Preparing`], which is what the update has to ask for, if its number rests
    /// for it. `ended` is the order as the ledger has it, and when the rest of its number ends: for where Redis has let go of
    /// it, and knows no more than that the number rests until then.
    ///
    /// # Errors
    /// As [`Allocator::transition`].
    pub async fn reopen(
        &self,
        id: OrderId,
        update: OrderUpdate<'_>,
        ended: Option<(&Order, Timestamp)>,
    ) -> Result<Reopened, AllocatorError> {
        let restaurant = id.restaurant();
        let ended = ended.map(|(order, free_at)| record::encode(order, Some(free_at))).transpose()?.unwrap_or_default();
        let reply = self
            .run_in_time(self.partition_of(restaurant), |token| {
                let call = self.fenced(&script::REOPEN_ORDER, restaurant)?.arg(*id.as_bytes()).arg(token);
                let call = call.arg(update.expected_version.map_or(String::new(), |version| version.to_string()));
                let call = call.arg(update.rewritten.map_or(Vec::new(), record::tail));
                Ok(call.arg(&ended).arg(context_json(update.context)))
            })
            .await?;
        match reply.name() {
            "moved_on" => Ok(Reopened::MovedOn),
            "live" => Ok(Reopened::Live(reply.order(1, id)?)),
            _ => Ok(match self.changed(&reply, id)? {
                Changed::Done(order) => Reopened::Done(order),
                Changed::Replayed { order, version } => Reopened::Replayed { order, version },
                Changed::Final(order) => Reopened::Final(order),
                Changed::Absent => Reopened::Absent,
                Changed::Version(order) => Reopened::Version(order),
                Changed::Forbidden(_) => return reply.unknown(),
            }),
        }
    }

    /// Ends the rest of a final order's number, if that order was its last holder. `free_at` is when the rest ends, as far as
    /// the ledger says; where Redis still has the order, it knows.
    ///
    /// # Errors
    /// As [`Allocator::transition`].
    pub async fn recycle(
        &self,
        order: &Order,
        free_at: Option<Timestamp>,
        context: &Context,
    ) -> Result<Recycled, AllocatorError> {
        let restaurant = order.restaurant();
        let partition = self.partition_of(restaurant);
        let packed = record::encode(order, free_at)?;
        let reply = self
            .run_in_time(partition, |token| {
                let call = self.fenced(&script::RECYCLE_NUMBER, restaurant)?;
                Ok(call.arg(*order.id.as_bytes()).arg(&packed).arg(context_json(context)).arg(token))
            })
            .await?;
        if matches!(reply.name(), "ok" | "replayed") {
            self.note(partition, &reply, reply.int(1)?.cast_unsigned());
        }
        match reply.name() {
            "ok" => Ok(Recycled::Freed),
            "replayed" => Ok(Recycled::Replayed),
            "busy" => Err(AllocatorError::Busy),
            "free" => Ok(Recycled::AlreadyFree),
            "moved_on" => Ok(Recycled::MovedOn),
            _ => reply.unknown(),
        }
    }

    /// Takes over a live order that was created elsewhere, with the number it wants if that is free.
    ///
    /// # Errors
    /// When Redis gives no usable answer; a repeat is harmless.
    pub async fn restore(
        &self,
        id: OrderId,
        wanted: Option<DisplayNumber>,
        status: OrderStatus,
        legacy_number: Option<&str>,
        details: &OrderDetails,
        context: &Context,
    ) -> Result<Restored, AllocatorError> {
        let names = NamesThere { legacy_number, old_number: None };
        self.restore_named(id, (wanted, None), status, [names, names], details, context).await
    }

    /// The same where the order keeps other names, by whether it gets the number that it wants: the first ones if so. Beside the
    /// number is its place in a business date, which it keeps.
    ///
    /// # Errors
    /// As [`Allocator::restore`].
    pub(crate) async fn restore_named(
        &self,
        id: OrderId,
        (wanted, day): (Option<DisplayNumber>, Option<BusinessDay>),
        status: OrderStatus,
        names: [NamesThere<'_>; 2],
        details: &OrderDetails,
        context: &Context,
    ) -> Result<Restored, AllocatorError> {
        let restaurant = id.restaurant();
        let [with_own, with_another] = names.map(|names| record::tail_behind_range(names, details));
        let call = self
            .fenced(&script::IMPORT_ORDER, restaurant)?
            .arg(*id.as_bytes())
            .arg(wanted.map_or(String::new(), |number| number.to_string()))
            .number(record::status_code(status))
            .arg(with_own)
            .arg(with_another)
            .arg(context_json(context))
            .arg(kind_of(details))
            .number(day.map_or(0, |day| days_of(day.date)))
            .number(day.map_or(0, |day| day.sequence));
        let reply = self.run(call).await?;
        match reply.name() {
            "ok" => {
                let order = reply.order(1, id)?;
                self.acknowledged(&reply, &order, None)?;
                Ok(Restored::New(order))
            }
            "exists" => Ok(Restored::Exists(reply.order(1, id)?)),
            "exhausted" => Ok(Restored::Exhausted { next_free_at: reply.time(1)? }),
            "unprovisioned" => Ok(Restored::Unprovisioned),
            _ => reply.unknown(),
        }
    }

    /// The order, if it is live or finished and not yet durable.
    ///
    /// # Errors
    /// When Redis gives no usable answer: the order may exist all the same.
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, AllocatorError> {
        let restaurant = id.restaurant();
        let partition = self.partition_of(restaurant);
        let mut reads = redis::pipe();
        reads.hget(self.keys.order(restaurant), id.as_bytes());
        reads.hget(self.keys.done(restaurant), id.as_bytes());
        let fence = self.partitions.fence(partition)?;
        let (live, done): (Option<Vec<u8>>, Option<Vec<u8>>) = self.read(&fence, Read::Short, reads).await?;
        live.or(done).map(|packed| Ok(record::decode(id, &packed)?)).transpose()
    }
}

/// What may choose the number of an order: its type and source, each by its place from 1, and the table.
fn asked(details: &OrderDetails) -> Vec<u8> {
    let table = details.table_number.as_deref().unwrap_or_default().as_bytes();
    [&kind_of(details)[..], table].concat()
}

fn kind_of(details: &OrderDetails) -> [u8; 2] {
    fn place<T: PartialEq>(all: &[T], kind: Option<T>) -> u8 {
        let place = all.iter().position(|one| Some(one) == kind.as_ref()).map_or(0, |place| place + 1);
        u8::try_from(place).expect("there are few")
    }
    [place(&OrderType::ALL, details.order_type), place(&OrderSource::ALL, details.order_source)]
}

/// How the business date goes on, as `lua/lib/turn_day.lua` reads it: its rules are told by the reply, with the date that
/// has ended.
fn next_business_day(reply: &Reply) -> Result<Vec<u8>, AllocatorError> {
    let at = Timestamp::from_unix_ms(reply.int(1)?);
    let present = u16::try_from(reply.uint(2)?).map_err(record::BadRecord::new)?;
    let rules: DateRules = reply.text(3)?.parse().map_err(record::BadRecord::new)?;
    let (date, end) = rules.following(date_of(present), at);
    Ok([&present.to_be_bytes()[..], &days_of(date).to_be_bytes(), &end.unix_ms().to_be_bytes()[2..]].concat())
}

/// Where an idempotency key's bucket begins and ends, as `allocate` takes it.
fn bucket_times(of_bucket: [i64; 2]) -> Vec<u8> {
    of_bucket.into_iter().flat_map(|ms| ms.to_be_bytes().into_iter().skip(2)).collect()
}

fn too_late() -> AllocatorError {
    AllocatorError::NoConnection("calls arrive too late; Redis or the network to it is overloaded".to_owned())
}
