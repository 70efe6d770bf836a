//! Reads that their callers share. One that asks while a read is under way waits for the next one, with all others that
//! do: it begins when the one before has ended, so it holds all that was acknowledged before any of them asked.

use std::{
    collections::HashMap,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{Shared, WeakShared},
};

type Reading<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// What may be read, each thing once at a time.
pub(super) struct Joined<K, V: Clone> {
    reads: Arc<Mutex<HashMap<K, Turns<V>>>>,
}

struct Turns<V: Clone> {
    /// Held by the read that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The one that waits for it; gone where all callers that asked for it have hung up.
    next: Option<WeakShared<Reading<V>>>,
}

impl<K, V> Joined<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(in crate::allocator) fn new() -> Self {
        Self { reads: Arc::default() }
    }

    /// What `read` gives, or the read of another one that has not begun either. May be dropped: a caller that still
    /// waits goes on.
    pub(in crate::allocator) async fn read<F>(&self, key: K, read: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let reading = {
            let mut reads = locked(&self.reads);
            let turns = reads.entry(key.clone()).or_insert_with(|| Turns { turn: Arc::default(), next: None });
            let turn = Arc::clone(&turns.turn);
            let waiting = turns.next.as_ref().and_then(WeakShared::upgrade);
            waiting.unwrap_or_else(|| {
                let reading = self.reading(key, turn, read());
                turns.next = reading.downgrade();
                reading
            })
        };
        reading.await
    }

    fn reading(
        &self,
        key: K,
        turn: Arc<tokio::sync::Mutex<()>>,
        read: impl Future<Output = V> + Send + 'static,
    ) -> Shared<Reading<V>> {
        let ended = Ended { reads: Arc::clone(&self.reads), key, turn };
        let reading = async move {
            let _turn = ended.turn.lock().await;
            // From here on it has begun: those that ask now wait for another one.
            if let Some(turns) = locked(&ended.reads).get_mut(&ended.key) {
                turns.next = None;
            }
            read.await
        };
        reading.boxed().shared()
    }
}

/// Forgets a thing that no caller reads any more, whether the read has come to its turn or not.
struct Ended<K: Eq + Hash, V: Clone> {
    reads: Arc<Mutex<HashMap<K, Turns<V>>>>,
    key: K,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<K: Eq + Hash, V: Clone> Drop for Ended<K, V> {
    fn drop(&mut self) {
        let mut reads = locked(&self.reads);
        // Two: here, and in the read that ends; one more in each other.
        if Arc::strong_count(&self.turn) <= 2 {
            reads.remove(&self.key);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use futures_util::poll;
    use tokio::sync::Semaphore;

    use super::*;

    /// Each read waits for leave, and tells which one it was.
    #[derive(Clone)]
    struct Store {
        begun: Arc<AtomicU32>,
        leave: Arc<Semaphore>,
    }

    impl Store {
        fn new() -> Self {
            Self { begun: Arc::default(), leave: Arc::new(Semaphore::new(0)) }
        }

        async fn read(self) -> u32 {
            let which = self.begun.fetch_add(1, SeqCst) + 1;
            self.leave.acquire().await.expect("open").forget();
            which
        }
    }

    #[tokio::test]
    async fn a_read_that_has_begun_is_not_joined_and_one_that_waits_is() {
        let (joined, store) = (Joined::new(), Store::new());
        let ask = || Box::pin(joined.read(7, || store.clone().read()));
        let mut first = ask();
        assert!(poll!(&mut first).is_pending());
        let (mut second, mut third) = (ask(), ask());
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        assert_eq!(store.begun.load(SeqCst), 1, "one at a time");
        let mut other = Box::pin(joined.read(8, || store.clone().read()));
        assert!(poll!(&mut other).is_pending());
        assert_eq!(store.begun.load(SeqCst), 2, "of each thing");

        store.leave.add_permits(1);
        assert_eq!(first.await, 1);
        assert!(poll!(&mut third).is_pending());
        assert_eq!(store.begun.load(SeqCst), 3);
        let mut fourth = ask();
        assert!(poll!(&mut fourth).is_pending(), "the third read has begun");
        store.leave.add_permits(3);
        assert_eq!((other.await, second.await, third.await, fourth.await), (2, 3, 3, 4));
        assert!(locked(&joined.reads).is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn callers_that_hang_up_hold_no_other_up() {
        let (joined, store) = (Joined::new(), Store::new());
        let ask = || Box::pin(joined.read(7, || store.clone().read()));
        let (mut first, mut second, mut third) = (ask(), ask(), ask());
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(first);
        drop(second);
        assert!(poll!(&mut third).is_pending());
        drop(third);
        assert!(locked(&joined.reads).is_empty(), "nothing is kept");
        // All that wait, while a read is under way.
        let (mut first, mut second) = (ask(), ask());
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        let mut third = ask();
        assert!(poll!(&mut third).is_pending());
        drop((second, third));
        let mut fourth = ask();
        assert!(poll!(&mut fourth).is_pending());
        assert_eq!(store.begun.load(SeqCst), 3, "it waits for its turn all the same");
        drop((first, fourth));
        store.leave.add_permits(9);
        assert!(ask().await > 0);
        assert!(locked(&joined.reads).is_empty(), "nothing is kept");
    }
}
