//! The scripts of a rebuild, by how many numbers of the restaurant are held that is loaded. Each round is a rebuild as the
//! daemon makes one, of a partition with one restaurant that has lost its latest orders.

use std::collections::{BTreeSet, HashMap};

use nowserving::{
    allocator::{Allocator, AllocatorError, Build, Restated},
    domain::{
        Context, DateImage, IdempotencyDigest, PoolImage, RestaurantId, SelectionPolicy, SettingsChange, Timestamp,
    },
};
use rand::RngExt;

use super::{
    CALLS, References,
    filled::{FILLS, LONG_REST, Layout, POLICIES, Pools},
    matrix::Matrix,
    micros,
};
use crate::{
    Plan,
    pools::{IN_MEMORY, Rig, at_once, restaurant},
    report::Report,
    rounds::Spread,
};

/// Orders that only the daemon knows of: with 99.9 % held, half of the ten free numbers are skipped before.
const LOST: usize = 4;
/// Idempotency keys that are brought back with a restaurant.
const KEYS: usize = 100;
/// Numbers, and sequences, that may have gone out in ten unknown seconds, with an order in each: twice as many.
const SKIPPED: (u32, u32) = (20, 80);

pub async fn measure(plan: &Plan, report: &mut Report) {
    let rig = Rig::start_remembering(IN_MEMORY, CALLS).await;
    let mut kinds = Vec::new();
    let mut restaurants = one_of_each_partition(&rig).into_iter();
    for layout in Layout::ALL {
        for fill in FILLS {
            let of = restaurants.next().expect("there are more partitions than kinds of pools");
            let pool = Pools::fill_each(&rig, vec![of], layout, fill, LONG_REST, plan.seed).await;
            kinds.push((layout, fill, Rebuilt::of(pool)));
        }
    }
    let (mut matrix, mut references, mut barriers) = (Matrix::default(), References::default(), Vec::new());
    for policy in POLICIES {
        for _ in 0..plan.size(5, 25) {
            for (_, _, rebuilt) in &mut kinds {
                rebuilt.round(policy).await;
            }
            barriers.push(barrier(&rig).await);
            references.measure(&rig).await;
        }
        for (layout, fill, rebuilt) in &mut kinds {
            matrix.add(policy, *layout, *fill, &mut rebuilt.pool.rows, &references.empty_script());
        }
    }
    matrix.report("a rebuild's scripts", report);
    // These know of no pool.
    let opening = Spread::once(rig.opening);
    report.figure(micros("open, a partition for the first time", opening, references.empty_script(), None));
    report.figure(micros(
        "barrier, before a level is waited for",
        Spread::of(barriers),
        references.empty_script(),
        None,
    ));
    references.report("rounds of rebuilds", report);
}

/// Level `replica` with no replica wanted: its script is all there is.
async fn barrier(rig: &Rig) -> f64 {
    let (allocator, partition) = (&rig.allocator, rig.allocator.partition_of(restaurant(0)));
    let mark = allocator.mark(allocator.moment(), partition, None).expect("the partition is open");
    let (micros, reached) = rig.timed(allocator.on_replicas(&mark)).await;
    assert!(reached, "nothing is waited for");
    micros
}

fn one_of_each_partition(rig: &Rig) -> Vec<RestaurantId> {
    let mut seen = BTreeSet::new();
    (0..1000).map(restaurant).filter(|of| seen.insert(rig.allocator.partition_of(*of))).collect()
}

/// A partition with one restaurant, and what a ledger would have of it.
struct Rebuilt<'a> {
    pool: Pools<'a>,
    image: PoolImage,
    build: Build,
    context: Context,
}

impl<'a> Rebuilt<'a> {
    fn of(mut pool: Pools<'a>) -> Self {
        let (allocator, of) = (&pool.rig.allocator, pool.restaurants[0]);
        let partition = allocator.partition_of(of);
        let builds = allocator.open_builds();
        let build = builds.into_iter().find(|build| build.partition == partition).expect("it is open");
        let chance = &mut pool.chance;
        let keys = pool
            .live
            .iter()
            .cycle()
            .take(KEYS)
            .map(|order| (IdempotencyDigest { key: chance.random(), body: [7; 16] }, order.id));
        let image = PoolImage {
            keys: keys.collect(),
            settings: SettingsChange { restaurant: of, settings: pool.settings.clone(), version: 1 },
            live: pool.live.clone(),
            cooling: Vec::new(),
            odd_cooldowns: HashMap::new(),
            last_given: Vec::new(),
            business_day: DateImage::default(),
        };
        Self { pool, image, build, context: Context::of("rebuild") }
    }

    async fn round(&mut self, policy: SelectionPolicy) {
        let (rig, partition) = (self.pool.rig, self.build.partition);
        let allocator = self.allocator();
        self.image.settings.settings.policy = policy;
        // As full as it is meant to be, and the ledger has all of it.
        let (generation, sequence) = allocator.known_sequence(partition);
        allocator.made_durable(partition, generation, sequence);
        self.fence_off().await;
        self.begin_build().await;
        self.load().await;
        self.finish().await;

        at_once((0..LOST).map(|_| rig.allocate(self.image.settings.restaurant, None))).await;
        let micros = self.fence_off().await;
        self.add("fence", micros);
        let micros = self.tell().await;
        self.add("tell", micros);
        let micros = self.begin_build().await;
        self.add("build", micros);
        let micros = self.load().await;
        self.add("load, recall, furnish", micros);
        let micros = self.skip().await;
        self.add("skip", micros);
        let micros = self.invite().await;
        self.add("invite", micros);
        let micros = self.restate().await;
        self.add("restate", micros);
        let micros = self.emit().await;
        self.add("emit, 64 orders", micros);
        let micros = self.finish().await;
        self.add("built", micros);
    }

    fn add(&mut self, script: &str, micros: f64) {
        self.pool.rows.add(script, micros);
    }

    /// The next steps are those of the next generation.
    async fn fence_off(&mut self) -> f64 {
        let Build { partition, generation, run_id } = &mut self.build;
        let fenced = self.pool.rig.allocator.fence_off(*partition, *generation, run_id);
        let (micros, fenced) = self.pool.rig.timed(fenced).await;
        assert!(fenced.expect("Redis answers"), "no other daemon builds");
        *generation += 1;
        micros
    }

    async fn tell(&self) -> f64 {
        self.step(self.allocator().begin_to_tell(&self.build)).await
    }

    async fn begin_build(&self) -> f64 {
        let allocator = self.allocator();
        let (_, sequence) = allocator.known_sequence(self.build.partition);
        self.step(allocator.begin_build(&self.build, sequence, Timestamp::from_unix_ms(0), b"0123456789abcdef", false))
            .await
    }

    /// All calls together.
    async fn load(&self) -> f64 {
        let (micros, loaded) = self.pool.rig.timed_together(self.allocator().load_pool(&self.build, &self.image)).await;
        loaded.expect("no other daemon builds");
        micros
    }

    async fn skip(&self) -> f64 {
        let (numbers, sequences) = SKIPPED;
        let of = self.image.settings.restaurant;
        self.step(self.allocator().skip_numbers(of, &self.build, numbers, sequences, &self.context)).await
    }

    async fn invite(&self) -> f64 {
        self.step(self.allocator().invite(&self.build)).await
    }

    async fn restate(&self) -> f64 {
        let restated = self.allocator().restate(&self.build, |_| true, false, &self.context);
        let (micros, restated) = self.pool.rig.timed(restated).await;
        let restated = restated.expect("no other daemon builds");
        assert_eq!(restated.len(), LOST);
        assert!(restated.iter().all(|(_, what)| matches!(what, Restated::Back(_))), "{restated:?}");
        micros
    }

    async fn emit(&self) -> f64 {
        let told: Vec<_> = self.image.live.iter().take(CALLS).map(|order| (order.clone(), None)).collect();
        self.step(self.allocator().emit(&self.build, &told, &[], &self.context)).await
    }

    async fn finish(&self) -> f64 {
        let (micros, sequence) = self.pool.rig.timed(self.allocator().finish_build(&self.build)).await;
        let Build { partition, generation, run_id } = &self.build;
        let sequence = sequence.expect("no other daemon builds");
        self.allocator().open_partition(*partition, *generation, run_id, sequence, sequence);
        micros
    }

    /// A call that may not fail.
    async fn step<T>(&self, call: impl Future<Output = Result<T, AllocatorError>>) -> f64 {
        let (micros, outcome) = self.pool.rig.timed(call).await;
        outcome.expect("no other daemon builds");
        micros
    }

    const fn allocator(&self) -> &'a Allocator {
        &self.pool.rig.allocator
    }
}
