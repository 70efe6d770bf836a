//! Recovery, the Redis side: a partition is fenced off, built anew under the next generation, and opened.
//!
//! While it is built it serves its builder only, which shows the generation that the ledger gave to it alone.

use std::collections::{BTreeMap, HashMap};

use crate::{
    allocator::{
        Allocator, AllocatorError, RunId,
        pools::{business_date::packed_dates, snapshot::instant_of},
        remembered::Remembered,
        script::{
            self, Call, Script, context_json,
            keys::KeyKind,
            record::{self, Packed},
            reply::{Reply, id_of},
        },
    },
    domain::{
        Context, DateImage, DisplayNumber, IdempotencyDigest, NumberAfter, Order, OrderId, PartitionId, PoolImage,
        RangeId, RestaurantId, SettingsChange, Timestamp, business_day::days_of,
    },
};

/// Live orders and resting numbers of one call: a restaurant with ten thousand of them must not hold up the others.
const PIECE: usize = 500;

/// A generation that is being built: whose, which, and on which server. Calls of its builder go to that server only: one
/// that was promoted half-way may have a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The partition.
    pub partition: PartitionId,
    /// The generation, which the ledger gave to this builder alone.
    pub generation: u64,
    /// The server that it is made on; calls go to no other.
    pub run_id: RunId,
}

/// Two orders that had got one number: the later one has a new number now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renumbered {
    /// The order that was given a new number.
    pub order: OrderId,
    /// The number it had.
    pub previous: DisplayNumber,
    /// The order that keeps it.
    pub keeper: OrderId,
}

/// What became of an order that was said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restated {
    /// It was lost, and is back.
    Back(Option<Renumbered>),
    /// Redis has it as it was, or newer.
    Known,
    /// Another live order holds its number, or the number that is to rest after it. It was left, and is still remembered.
    Held,
    /// Its number has another holder, and none is free. It is still remembered, until there is one.
    NoNumber,
    /// Its restaurant has no settings: they were lost, too.
    Unprovisioned,
}

impl Allocator {
    /// Fences off a generation: no call under it is served any more, whichever daemon makes it. False where another
    /// generation is there.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn fence_off(
        &self,
        partition: PartitionId,
        generation: u64,
        run_id: &RunId,
    ) -> Result<bool, AllocatorError> {
        let key = self.keys.partition(partition);
        let call = script::FENCE_PARTITION.call(partition).bound(generation, run_id);
        let call = call.key(key).number(generation).arg(run_id.as_str());
        let reply: Reply = self.connections.run(call).await?;
        match reply.name() {
            "ok" | "empty" => Ok(true),
            "moved" => Ok(false),
            _ => reply.unknown(),
        }
    }

    /// The generation whose builder was to tell the ledger what it had lost, and may not have done so; None where there
    /// is nothing to tell. Bound to a server, like all that a builder does.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn untold(&self, partition: PartitionId, run_id: &RunId) -> Result<Option<u64>, AllocatorError> {
        let mut read = redis::pipe();
        read.cmd("HGET").arg(self.keys.partition(partition)).arg("tells");
        let (generation,) = self.connections.pipeline(partition, Some(run_id), &read).await?;
        Ok(generation)
    }

    /// Notes that a fenced partition holds more than the ledger, before the ledger gives out the generation `next`.
    ///
    /// # Errors
    /// When Redis gives no usable answer, or a newer generation is being built.
    pub async fn begin_to_tell(&self, next: &Build) -> Result<(), AllocatorError> {
        self.build(self.builder_call(&script::DESCRIBE_PARTITION, next).number(next.generation)).await.map(drop)
    }

    /// Begins to build a generation, whose first event will be the one behind `sequence`, and none of which is stamped before
    /// `stamp`. `whole` says that what Redis holds of it stays.
    ///
    /// # Errors
    /// When Redis gives no usable answer, or a newer generation is being built; also when what was to stay is not there.
    pub async fn begin_build(
        &self,
        build: &Build,
        sequence: u64,
        stamp: Timestamp,
        seed: &[u8; 16],
        whole: bool,
    ) -> Result<(), AllocatorError> {
        let call = self
            .builder_call(&script::BEGIN_BUILD, build)
            .key(self.keys.outbox(build.partition))
            .number(build.generation)
            .number(sequence)
            .arg(*seed)
            .arg(build.run_id.as_str())
            .arg(if whole { "1" } else { "" })
            .number(stamp.unix_ms());
        self.build(call).await.map(drop)
    }

    /// Forgets what Redis holds of a restaurant, and loads this instead.
    ///
    /// # Errors
    /// When Redis gives no usable answer, or the generation is no longer the one that is being built.
    pub async fn load_pool(&self, build: &Build, image: &PoolImage) -> Result<(), AllocatorError> {
        let restaurant = image.settings.restaurant;
        let mut cooling = image.cooling.clone();
        cooling.sort_unstable();
        let mut cooling = cooling.chunks(PIECE);
        let mut live = image.live.chunks(PIECE);
        let (mut first, mut loaded) = (true, 0);
        let mut stale_keys = self.stale_idempotency_keys(restaurant).await?;
        loop {
            let (rests, orders) = (cooling.next(), live.next());
            // One piece at least: with the first, all that Redis held of the restaurant is forgotten.
            if !first && rests.is_none() && orders.is_none() {
                break;
            }
            let rests = rests.unwrap_or_default();
            let mut call = self.building(&script::LOAD_POOL, restaurant, build);
            for key in stale_keys.drain(..) {
                call = call.key(key);
            }
            call = call.arg(if first { "1" } else { "" }).number(loaded);
            let packed = rests.iter().flat_map(|rest| packed_rest(rest, image.odd_cooldowns.get(&rest.1)));
            call = call.arg(packed.collect::<Vec<u8>>());
            loaded += rests.len();
            for order in orders.unwrap_or_default() {
                call = call.arg(*order.id.as_bytes()).arg(record::encode(order, None)?);
            }
            self.build(call).await?;
            first = false;
        }
        self.recall(restaurant, build, &image.keys).await?;
        // Last: the numbers of the range that are neither held nor resting by then are laid out as free.
        self.furnish(build, &image.settings, &image.last_given, &image.business_day).await
    }

    /// The buckets of idempotency keys that Redis may hold of a restaurant whose data it has lost in part: keys in them may
    /// lead to orders that no server has. A bucket is as long as the window, and goes at the end of the next one, so
    /// there are two at most.
    async fn stale_idempotency_keys(&self, restaurant: RestaurantId) -> Result<Vec<String>, AllocatorError> {
        let mut read = redis::cmd("HGET");
        read.arg(self.keys.of(KeyKind::Pool, restaurant)).arg("ib");
        let last: Option<Vec<u8>> = self.connections.send(self.partition_of(restaurant), &read).await?;
        let Some(Ok(times)) = last.map(<[u8; 12]>::try_from) else { return Ok(Vec::new()) };
        let ms = |bytes: &[u8]| bytes.iter().fold(0_i64, |ms, byte| (ms << 8) | i64::from(*byte));
        let (start, end) = (ms(&times[..6]), ms(&times[6..]));
        let Some(bucket) = start.checked_div(end - start) else { return Ok(Vec::new()) };
        Ok([bucket, bucket - 1].map(|bucket| self.keys.idem(restaurant, bucket)).into())
    }

    /// Forgets the restaurants of the generation before that are none of these: the ledger does not know them.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn forget_others(&self, build: &Build, known: &[RestaurantId]) -> Result<usize, AllocatorError> {
        let mut others = self.fenced_restaurants(build.partition).await?;
        others.retain(|restaurant| known.binary_search(restaurant).is_err());
        for restaurant in &others {
            let mut call = self.building(&script::FORGET_POOLS, *restaurant, build);
            for key in self.stale_idempotency_keys(*restaurant).await? {
                call = call.key(key);
            }
            self.build(call.number(restaurant)).await?;
        }
        Ok(others.len())
    }

    /// Gives settings to a restaurant that has orders to be said again and is known to no server: those that it had
    /// were lost with them. Redis, and then the ledger, learn of them.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub(crate) async fn provision_lost(
        &self,
        build: &Build,
        settings: SettingsChange,
        context: &Context,
    ) -> Result<(), AllocatorError> {
        self.furnish(build, &settings, &[], &DateImage::default()).await?;
        self.emit(build, &[], &[settings], context).await
    }

    async fn furnish(
        &self,
        build: &Build,
        settings: &SettingsChange,
        last_given: &[(Option<RangeId>, DisplayNumber)],
        date: &DateImage,
    ) -> Result<(), AllocatorError> {
        let SettingsChange { restaurant, settings, version } = settings;
        let ranges = [None].into_iter().chain(settings.ranges.iter().map(|range| Some(&range.id)));
        let last_given = ranges.map(|id| {
            let given = last_given.iter().find(|(of, _)| of.as_ref() == id);
            given.map_or_else(|| "0".to_owned(), |(_, number)| number.to_string())
        });
        let call = self
            .building(&script::LOAD_ORDERS, *restaurant, build)
            .number(restaurant)
            .number(version)
            .settings(settings)
            .arg(last_given.collect::<Vec<_>>().join(" "))
            .number(date.day.map_or(0, |day| days_of(day.date)))
            .number(date.day.map_or(0, |day| day.sequence))
            .number(date.ends_at.map_or(0, Timestamp::unix_ms))
            .number(date.set_at.map_or(0, Timestamp::unix_ms))
            .arg(packed_dates(&date.ahead));
        self.build(call).await.map(drop)
    }

    /// Brings idempotency keys back; those that are there stay.
    async fn recall(
        &self,
        restaurant: RestaurantId,
        build: &Build,
        keys: &[(IdempotencyDigest, OrderId)],
    ) -> Result<(), AllocatorError> {
        let mut buckets: BTreeMap<i64, Vec<&(IdempotencyDigest, OrderId)>> = BTreeMap::new();
        for known in keys {
            let (bucket, _) = self.idempotency_bucket(known.1.created_at());
            buckets.entry(bucket).or_default().push(known);
        }
        for (bucket, keys) in buckets {
            for some in keys.chunks(PIECE) {
                let Some((_, id)) = some.first() else { continue };
                let (_, gone_at) = self.idempotency_bucket(id.created_at());
                let mut call = self
                    .building(&script::RECALL_KEYS, restaurant, build)
                    .key(self.keys.idem(restaurant, bucket))
                    .number(gone_at);
                for (digest, id) in some {
                    call = call.arg(digest.key).arg([id.as_bytes().as_slice(), &digest.body].concat());
                }
                self.build(call).await?;
            }
        }
        Ok(())
    }

    /// Puts those numbers of a restaurant to rest that may have been given unseen: the next `numbers` ones or, of a
    /// `random` pool, those of the next `sequences` events. Answers with how many.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn skip_numbers(
        &self,
        restaurant: RestaurantId,
        build: &Build,
        numbers: u32,
        sequences: u32,
        context: &Context,
    ) -> Result<u32, AllocatorError> {
        let call = self.building(&script::SKIP_NUMBERS, restaurant, build).number(numbers).number(sequences);
        let call = call.number(restaurant).arg(context_json(context));
        let reply = self.build(call).await?;
        if reply.name() == "unprovisioned" { Ok(0) } else { reply.uint(1) }
    }

    /// Says orders again that this daemon saw acknowledged under generations before this one. Redis, and then the ledger,
    /// learn of them; `wanted` picks those that no server has. They stay remembered until the ledger has them: this
    /// generation, too, may come to nothing. With `patient`, those whose numbers have other holders are left for
    /// another time: other daemons may know that these have ended.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn restate(
        &self,
        build: &Build,
        wanted: impl Fn(&Order) -> bool,
        patient: bool,
        context: &Context,
    ) -> Result<Vec<(OrderId, Restated)>, AllocatorError> {
        let (mut restated, mut said) = (Vec::new(), Vec::new());
        for change in self.remembered.before(build.partition, build.generation) {
            let Remembered { id, packed, idempotency, .. } = &change;
            if !wanted(&record::decode(*id, packed)?) {
                // A server has it: it need not be remembered any more.
                said.push((change, None));
                continue;
            }
            let call = self
                .building(&script::RESTATE_ORDER, id.restaurant(), build)
                .arg(*id.as_bytes())
                .arg(packed)
                .arg(context_json(context))
                .arg(if patient { "1" } else { "" })
                .arg(idempotency.map_or(Vec::new(), |digest| [digest.key, digest.body].concat()));
            let reply = self.build(call).await?;
            let (what, sequence) = restated_of(&reply)?;
            restated.push((*id, what));
            // These are still remembered, and said another time.
            if matches!(what, Restated::Held | Restated::NoNumber | Restated::Unprovisioned) {
                continue;
            }
            if let Some(digest) = idempotency {
                self.recall(id.restaurant(), build, &[(*digest, *id)]).await?;
            }
            said.push((change, sequence));
        }
        self.remembered.said_again(build.partition, build.generation, said);
        Ok(restated)
    }

    /// Appends an event for each of these orders as it is, and for each of these settings. The event of a final order
    /// says what became of its number.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn emit(
        &self,
        build: &Build,
        orders: &[(Order, Option<NumberAfter>)],
        settings: &[SettingsChange],
        context: &Context,
    ) -> Result<(), AllocatorError> {
        let begin = || {
            let call = self.builder_call(&script::EMIT_EVENTS, build).key(self.keys.outbox(build.partition));
            call.number(build.generation).arg(context_json(context))
        };
        for some in settings.chunks(PIECE) {
            let mut call = begin();
            for change in some {
                let json = serde_json::to_vec(&change.settings).expect("settings are plain JSON");
                call = call.arg("configured").number(change.restaurant).arg(json).number(change.version);
            }
            self.build(call).await?;
        }
        for some in orders.chunks(PIECE) {
            let mut call = begin();
            for (order, number) in some {
                let free_at = match number {
                    Some(NumberAfter::Cooling(until)) => Some(*until),
                    Some(NumberAfter::Free) | None => None,
                };
                let rests_until = free_at.map_or(String::new(), |until| until.unix_ms().to_string());
                let packed = record::encode(order, free_at.or(order.released_at))?;
                call = call.arg("restated").arg(*order.id.as_bytes()).arg(packed).arg(rests_until);
            }
            self.build(call).await?;
        }
        Ok(())
    }

    /// Invites every daemon to say again what it remembers ([`Head::invites`](crate::allocator::Head)): everything is loaded.
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn invite(&self, build: &Build) -> Result<(), AllocatorError> {
        self.build(self.builder_call(&script::INVITE_DAEMONS, build).number(build.generation)).await.map(drop)
    }

    /// Opens the generation that was built, to all daemons; answers with its sequence. This daemon still has to let
    /// calls through ([`Allocator::open_partition`]).
    ///
    /// # Errors
    /// As [`Allocator::load_pool`].
    pub async fn finish_build(&self, build: &Build) -> Result<u64, AllocatorError> {
        let call = self.builder_call(&script::FINISH_BUILD, build).number(build.generation);
        Ok(self.build(call).await?.int(1)?.cast_unsigned())
    }

    /// The restaurants that Redis holds of a partition that is fenced off.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn fenced_restaurants(&self, partition: PartitionId) -> Result<Vec<RestaurantId>, AllocatorError> {
        let mut cmd = redis::cmd("SMEMBERS");
        cmd.arg(self.keys.restaurants(partition));
        let ids: Vec<i64> = self.connections.send(partition, &cmd).await?;
        ids.into_iter().map(|id| RestaurantId::new(id).map_err(|e| AllocatorError::Bug(e.to_string()))).collect()
    }

    /// The orders that Redis holds of a restaurant whose partition is fenced off, live and finished ones; of the latter, when
    /// the rest of its number ends.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn fenced_orders(
        &self,
        restaurant: RestaurantId,
    ) -> Result<Vec<(Order, Option<Timestamp>)>, AllocatorError> {
        let mut found = Vec::new();
        for key in [self.keys.order(restaurant), self.keys.done(restaurant)] {
            let mut cursor = 0_u64;
            loop {
                let mut cmd = redis::cmd("HSCAN");
                cmd.arg(&key).arg(cursor).arg("COUNT").arg(1000);
                let (next, fields): (u64, Packed) = self.connections.send(self.partition_of(restaurant), &cmd).await?;
                for (id, packed) in fields {
                    found.push((record::decode(id_of(&id)?, &packed)?, record::free_at(&packed)));
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(found)
    }

    /// The resting numbers that Redis holds of a restaurant whose partition is fenced off.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn fenced_rests(
        &self,
        restaurant: RestaurantId,
    ) -> Result<HashMap<u32, Timestamp>, AllocatorError> {
        let (partition, key) = (self.partition_of(restaurant), self.keys.of(KeyKind::Cool, restaurant));
        let mut kind = redis::cmd("TYPE");
        let kind: String = self.connections.send(partition, kind.arg(&key)).await?;
        if kind != "list" {
            let mut cmd = redis::cmd("ZRANGE");
            cmd.arg(&key).arg(0).arg(-1).arg("WITHSCORES");
            let rests: Vec<(u32, f64)> = self.connections.send(partition, &cmd).await?;
            return Ok(rests.into_iter().map(|(number, until)| (number, instant_of(until))).collect());
        }
        // As layouts up to the third had them: instant 6 B, number 3 B.
        let mut cmd = redis::cmd("LRANGE");
        cmd.arg(&key).arg(0).arg(-1);
        let entries: Vec<Vec<u8>> = self.connections.send(partition, &cmd).await?;
        let value = |bytes: &[u8]| bytes.iter().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
        let rest = |entry: Vec<u8>| {
            let (until, number) = entry.split_at_checked(6)?;
            Some((u32::try_from(value(number)).ok()?, Timestamp::from_unix_ms(value(until))))
        };
        let odd = || AllocatorError::Bug("a resting number is not nine bytes".to_owned());
        entries.into_iter().map(|entry| rest(entry).ok_or_else(odd)).collect()
    }

    /// The settings that Redis holds of a restaurant whose partition is fenced off.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn fenced_settings(
        &self,
        restaurant: RestaurantId,
    ) -> Result<Option<SettingsChange>, AllocatorError> {
        let partition = self.partition_of(restaurant);
        let call = script::READ_SETTINGS.call_for(&self.keys, restaurant).number(0).number(0);
        let mut reply: Reply = self.connections.run(call).await?;
        match reply.name() {
            "ok" => {
                let stored = crate::allocator::pools::packed::take_pool(&mut reply, 1)?.stored;
                Ok(Some(SettingsChange { restaurant, settings: stored.settings, version: stored.version }))
            }
            "unprovisioned" => Ok(None),
            _ => Err(self.no_longer(partition).into()),
        }
    }

    /// Begins a call about the partition.
    fn builder_call(&self, script: &'static Script, build: &Build) -> Call {
        script.call(build.partition).bound(build.generation, &build.run_id).key(self.keys.partition(build.partition))
    }

    /// Begins a call about a restaurant.
    fn building(&self, script: &'static Script, restaurant: RestaurantId, build: &Build) -> Call {
        script.call_for(&self.keys, restaurant).bound(build.generation, &build.run_id).number(build.generation)
    }

    /// Runs a call of a builder.
    async fn build(&self, call: Call) -> Result<Reply, AllocatorError> {
        let partition = call.partition;
        let reply: Reply = self.connections.run(call).await?;
        if reply.name() == "closed" { Err(self.no_longer(partition).into()) } else { Ok(reply) }
    }

    fn no_longer(&self, partition: PartitionId) -> crate::allocator::Closed {
        crate::allocator::Closed { partition, reason: "another daemon is building it".to_owned() }
    }
}

fn packed_rest(
    (free_at, number): &(Timestamp, DisplayNumber),
    odd_cooldown: Option<&u32>,
) -> impl Iterator<Item = u8> + use<> {
    let free_at = free_at.unix_ms().to_be_bytes().into_iter().skip(2);
    let odd_cooldown = odd_cooldown.copied().unwrap_or(0).to_be_bytes();
    free_at.chain(number.get().to_be_bytes().into_iter().skip(1)).chain(odd_cooldown)
}

/// What became of it, and the sequence at which Redis has it.
fn restated_of(reply: &Reply) -> Result<(Restated, Option<u64>), AllocatorError> {
    let sequence = || reply.int(1).map(|sequence| Some(sequence.cast_unsigned()));
    match reply.name() {
        "ok" if reply.bytes(2)?.is_empty() => Ok((Restated::Back(None), sequence()?)),
        "ok" => {
            let order = reply.id(2)?;
            let previous = DisplayNumber::new(reply.int(3)?).map_err(record::BadRecord::new)?;
            Ok((Restated::Back(Some(Renumbered { order, previous, keeper: reply.id(4)? })), sequence()?))
        }
        "known" => Ok((Restated::Known, sequence()?)),
        "unprovisioned" => Ok((Restated::Unprovisioned, None)),
        "held" => Ok((Restated::Held, None)),
        "exhausted" => Ok((Restated::NoNumber, None)),
        _ => reply.unknown(),
    }
}
