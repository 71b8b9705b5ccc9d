//! Fair shares of something of which there are only so many: connections, turns to hash. Whoever
//! comes alone may have all but one of them; while several wait, whoever has least gets the next.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// So many of something, divided among those who want it.
pub struct Shares<K: Eq + Hash + Clone>(Arc<Mutex<State<K>>>);

impl<K: Eq + Hash + Clone> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        f.debug_struct("Shares").field("free", &state.free).field("waiting", &state.waiting).finish_non_exhaustive()
    }
}

struct State<K: Eq + Hash + Clone> {
    free: usize,
    /// What one may have.
    each_max: usize,
    /// How many may wait, in all and of one.
    waiting_max: usize,
    waiting_each_max: usize,
    waiting: usize,
    users: HashMap<K, User<K>>,
    /// Counts what was given.
    given: u64,
}

struct User<K: Eq + Hash + Clone> {
    held: usize,
    /// When it was last given one.
    last: u64,
    queue: VecDeque<oneshot::Sender<Share<K>>>,
}

impl<K: Eq + Hash + Clone> Default for User<K> {
    fn default() -> Self {
        Self { held: 0, last: 0, queue: VecDeque::new() }
    }
}

/// Why there is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// Too many wait already.
    #[error("too many wait already")]
    Full,
    /// None got free in time.
    #[error("none got free in time")]
    Late,
}

/// One of them, until it is dropped.
pub struct Share<K: Eq + Hash + Clone> {
    state: Arc<Mutex<State<K>>>,
    key: Option<K>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// So many; one user may have all but one of them, where there are several.
    pub fn new(count: usize) -> Self {
        Self::limited(count, count.saturating_sub(1).max(1), usize::MAX, usize::MAX)
    }

    /// So many, of which one user may have so many; and so many may wait, in all and of one user.
    pub fn limited(count: usize, each_max: usize, waiting_max: usize, waiting_each_max: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count,
            each_max,
            waiting_max,
            waiting_each_max,
            waiting: 0,
            users: HashMap::new(),
            given: 0,
        })))
    }

    /// One for this user, once it is their turn; they wait no longer than this.
    pub async fn take(&self, key: &K, patience: Duration) -> Result<Share<K>, NoShare> {
        let turn = {
            let mut state = lock(&self.0);
            if let Some(share) = state.try_give(&self.0, key) {
                return Ok(share);
            }
            let of_user = state.users.get(key).map_or(0, |user| user.queue.len());
            if state.waiting >= state.waiting_max || of_user >= state.waiting_each_max {
                return Err(NoShare::Full);
            }
            let (sender, turn) = oneshot::channel();
            state.users.entry(key.clone()).or_default().queue.push_back(sender);
            state.waiting += 1;
            turn
        };
        // Dropped after the turn, also where the caller goes away meanwhile.
        let _left = Left { state: &self.0, key };
        timeout(patience, turn).await.ok().and_then(Result::ok).ok_or(NoShare::Late)
    }

    /// One for this user, if there is one at this moment.
    pub fn try_take(&self, key: &K) -> Option<Share<K>> {
        lock(&self.0).try_give(&self.0, key)
    }
}

fn lock<K: Eq + Hash + Clone>(state: &Mutex<State<K>>) -> MutexGuard<'_, State<K>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash + Clone> State<K> {
    fn try_give(&mut self, own: &Arc<Mutex<Self>>, key: &K) -> Option<Share<K>> {
        let held = self.users.get(key).map_or(0, |user| user.held);
        if self.free == 0 || held >= self.each_max {
            return None;
        }
        Some(self.give(own, key))
    }

    fn give(&mut self, own: &Arc<Mutex<Self>>, key: &K) -> Share<K> {
        self.given += 1;
        self.free -= 1;
        let given = self.given;
        let user = self.users.entry(key.clone()).or_default();
        user.held += 1;
        user.last = given;
        Share { state: Arc::clone(own), key: Some(key.clone()) }
    }

    /// Of those who wait and may have one more, who has least; among these, who waits since the
    /// longest time.
    fn next(&self) -> Option<K> {
        let waiting = self.users.iter().filter(|(_, user)| !user.queue.is_empty() && user.held < self.each_max);
        waiting.min_by_key(|(_, user)| (user.held, user.last)).map(|(key, _)| key.clone())
    }

    /// Give what is free to those who wait.
    fn pass_on(&mut self, own: &Arc<Mutex<Self>>) {
        while self.free > 0 {
            let Some(key) = self.next() else { return };
            let Some(turn) = self.users.get_mut(&key).and_then(|user| user.queue.pop_front()) else { return };
            self.waiting -= 1;
            if turn.is_closed() {
                self.forget_idle(&key);
                continue;
            }
            let share = self.give(own, &key);
            if let Err(mut share) = turn.send(share) {
                // Whoever waited went away at this moment. Taken back here, since the lock is held.
                share.key = None;
                self.put_back(&key);
            }
        }
    }

    fn put_back(&mut self, key: &K) {
        self.free += 1;
        if let Some(user) = self.users.get_mut(key) {
            user.held = user.held.saturating_sub(1);
        }
        self.forget_idle(key);
    }

    /// Forget those of a user's that wait no more.
    fn forget_gone(&mut self, key: &K) {
        if let Some(user) = self.users.get_mut(key) {
            let before = user.queue.len();
            user.queue.retain(|turn| !turn.is_closed());
            self.waiting -= before - user.queue.len();
        }
        self.forget_idle(key);
    }

    fn forget_idle(&mut self, key: &K) {
        if self.users.get(key).is_some_and(|user| user.held == 0 && user.queue.is_empty()) {
            self.users.remove(key);
        }
    }
}

/// Forgets those that wait no more.
struct Left<'a, K: Eq + Hash + Clone> {
    state: &'a Mutex<State<K>>,
    key: &'a K,
}

impl<K: Eq + Hash + Clone> Drop for Left<'_, K> {
    fn drop(&mut self) {
        lock(self.state).forget_gone(self.key);
    }
}

impl<K: Eq + Hash + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut state = lock(&self.state);
        state.put_back(&key);
        state.pass_on(&self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_alone_has_all_but_one_and_whoever_has_least_comes_next() {
        let shares = Shares::new(4);
        let mut of_a: Vec<_> = (0..3).map(|_| shares.try_take(&"a").unwrap()).collect();
        assert!(shares.try_take(&"a").is_none(), "one is left for others");
        let of_b = shares.try_take(&"b").unwrap();
        let waits = |who: &'static str| {
            let shares = shares.clone();
            tokio::spawn(async move { shares.take(&who, LONG).await.map(|share| (who, share)) })
        };
        let first = waits("a");
        tokio::task::yield_now().await;
        let (second, third) = (waits("c"), waits("b"));
        tokio::task::yield_now().await;
        drop(of_a.pop());
        let (who, of_c) = second.await.unwrap().unwrap();
        assert_eq!(who, "c", "who has none comes before who waited longer");
        drop(of_a.pop());
        assert!(first.await.unwrap().is_ok(), "a and b have one each; a was given one longer ago");
        drop(of_b);
        assert!(third.await.unwrap().is_ok());
        drop(of_c);
    }

    #[tokio::test]
    async fn one_writer_is_shared_in_turns() {
        let shares = Shares::new(1);
        let first = shares.try_take(&"a").unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for who in ["a", "a", "a", "b", "c"] {
            let (shares, order) = (shares.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let _share = shares.take(&who, LONG).await.unwrap();
                order.lock().unwrap().push(who);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert!(order.iter().position(|who| *who == "c").unwrap() <= 2, "{order:?}");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_behind() {
        let shares = Shares::limited(1, 1, 2, 1);
        let held = shares.try_take(&1).unwrap();
        assert_eq!(shares.take(&2, Duration::from_millis(5)).await.err(), Some(NoShare::Late));
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.take(&2, LONG).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert_eq!(shares.take(&2, LONG).await.err(), Some(NoShare::Full), "one of a user waits");
        waiting.abort();
        assert!(waiting.await.is_err());
        drop(held);
        drop(shares.try_take(&3).unwrap());
        let state = lock(&shares.0);
        assert_eq!((state.free, state.waiting, state.users.len()), (1, 0, 0));
    }
}
