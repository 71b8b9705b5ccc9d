//! Who gets the next free workers: queues by their shares, tenants by what they use.
//!
//! Whoever has the fewest workers for its share comes first; among equals whoever used the
//! fewest worker-seconds. What one does not need the others get, so no worker idles while
//! anything waits. Workers in use are counted from leases, by the caller, each time anew;
//! the worker-seconds are this process's own and only break ties.

use std::collections::{BTreeMap, HashMap};

use crate::{id::TenantId, job::Queue};

/// Jobs of one tenant in one queue that wait for a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Their queue.
    pub queue: Queue,
    /// Their tenant.
    pub tenant: TenantId,
    /// The tenant's part beside others, above 0.
    pub weight: f64,
    /// Jobs of the tenant that run already.
    pub running: u64,
    /// Jobs of the tenant that may run at most.
    pub at_once_max: Option<u64>,
}

/// Workers in use, by queue and tenant. A job that takes next to no time counts as a
/// fraction of one.
pub type InUse = BTreeMap<(Queue, TenantId), f64>;

/// What was used so far.
#[derive(Debug, Default)]
pub struct Fair {
    tenants: HashMap<TenantId, Used>,
    queues: BTreeMap<Queue, f64>,
    tenants_floor: f64,
    queues_floor: f64,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    seconds: f64,
    weight: f64,
}

/// Tenants remembered at most, beyond which those with nothing to remember are forgotten.
const TENANTS_MAX: usize = 10_000;

impl Fair {
    /// Divide free workers among those who wait; how many each of them gets.
    pub fn divide(&mut self, waiting: &[Waiting], in_use: &InUse, workers: u32) -> Vec<u32> {
        self.welcome(waiting);
        let mut of_queue: BTreeMap<Queue, f64> = BTreeMap::new();
        let mut of_tenant: HashMap<TenantId, f64> = HashMap::new();
        for ((queue, tenant), used) in in_use {
            *of_queue.entry(*queue).or_default() += used;
            *of_tenant.entry(*tenant).or_default() += used;
        }
        let mut added: HashMap<TenantId, u64> = HashMap::new();
        let mut given = vec![0; waiting.len()];
        for _ in 0..workers {
            let used = |tenant: &TenantId| of_tenant.get(tenant).copied().unwrap_or(0.0);
            let new = |w: &Waiting| added.get(&w.tenant).copied().unwrap_or(0);
            let open = |w: &Waiting| w.at_once_max.is_none_or(|max| w.running + new(w) < max);
            let rank = |w: &Waiting| {
                (
                    of_queue.get(&w.queue).copied().unwrap_or(0.0) / w.queue.share(),
                    self.queues.get(&w.queue).copied().unwrap_or(0.0),
                    used(&w.tenant) / w.weight,
                    self.tenants.get(&w.tenant).map_or(0.0, |used| used.seconds),
                )
            };
            let next = waiting.iter().zip(&mut given).filter(|(w, _)| open(w)).min_by(|(a, _), (b, _)| {
                let (a, b) = (rank(a), rank(b));
                a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)).then(a.3.total_cmp(&b.3))
            });
            let Some((chosen, count)) = next else { break };
            *count += 1;
            *of_queue.entry(chosen.queue).or_default() += 1.0;
            *of_tenant.entry(chosen.tenant).or_default() += 1.0;
            *added.entry(chosen.tenant).or_default() += 1;
        }
        given
    }

    /// Charge what a run took.
    pub fn charge(&mut self, queue: Queue, tenant: TenantId, worker_seconds: f64) {
        *self.queues.entry(queue).or_insert(self.queues_floor) += worker_seconds / queue.share();
        if let Some(used) = self.tenants.get_mut(&tenant) {
            used.seconds += worker_seconds / used.weight;
        }
    }

    /// Whoever did not wait for a while begins where the others are: idleness is not saved up.
    fn welcome(&mut self, waiting: &[Waiting]) {
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let of_tenants =
            least(&mut waiting.iter().filter_map(|w| self.tenants.get(&w.tenant).map(|used| used.seconds)));
        if of_tenants.is_finite() {
            self.tenants_floor = self.tenants_floor.max(of_tenants);
        }
        let of_queues = least(&mut waiting.iter().filter_map(|w| self.queues.get(&w.queue).copied()));
        if of_queues.is_finite() {
            self.queues_floor = self.queues_floor.max(of_queues);
        }
        for w in waiting {
            let used = self.tenants.entry(w.tenant).or_insert(Used { seconds: self.tenants_floor, weight: w.weight });
            *used = Used { seconds: used.seconds.max(self.tenants_floor), weight: w.weight };
            let used = self.queues.entry(w.queue).or_insert(self.queues_floor);
            *used = used.max(self.queues_floor);
        }
        if self.tenants.len() > TENANTS_MAX {
            self.tenants.retain(|_, used| used.seconds > self.tenants_floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    fn waits(queue: Queue, n: u128) -> Waiting {
        Waiting { queue, tenant: tenant(n), weight: 1.0, running: 0, at_once_max: None }
    }

    #[test]
    fn who_has_nothing_comes_before_who_has_everything() {
        let mut fair = Fair::default();
        let waiting = [waits(Queue::Default, 1), waits(Queue::Default, 2)];
        let in_use = InUse::from([((Queue::Default, tenant(1)), 7.0)]);
        assert_eq!(fair.divide(&waiting, &in_use, 1), [0, 1]);
        assert_eq!(fair.divide(&waiting, &in_use, 9), [1, 8]);
    }

    #[test]
    fn whoever_waits_alone_gets_every_worker_up_to_its_ceiling() {
        let mut fair = Fair::default();
        let mut only = waits(Queue::Low, 1);
        assert_eq!(fair.divide(&[only.clone()], &InUse::new(), 8), [8]);
        (only.at_once_max, only.running) = (Some(3), 1);
        let in_use = InUse::from([((Queue::High, tenant(1)), 1.0)]);
        assert_eq!(fair.divide(&[only], &in_use, 8), [2]);
    }

    #[test]
    fn queues_get_seventy_twenty_and_ten_of_a_hundred_while_all_have_work() {
        let waiting = Queue::ALL.map(|queue| waits(queue, 1));
        assert_eq!(Fair::default().divide(&waiting, &InUse::new(), 100), [70, 20, 10]);
        assert_eq!(
            Fair::default().divide(&waiting[1..], &InUse::new(), 30),
            [20, 10],
            "what one leaves the others use"
        );
    }

    #[test]
    fn a_plan_that_weighs_more_gets_more() {
        let mut heavy = waits(Queue::Default, 1);
        heavy.weight = 3.0;
        assert_eq!(Fair::default().divide(&[heavy, waits(Queue::Default, 2)], &InUse::new(), 8), [6, 2]);
    }

    #[test]
    fn with_one_worker_tenants_get_the_same_seconds_not_the_same_number_of_jobs() {
        let mut fair = Fair::default();
        let waiting = [waits(Queue::Default, 1), waits(Queue::Default, 2)];
        let mut seconds = [0.0, 0.0];
        for _ in 0..1_100 {
            let given = fair.divide(&waiting, &InUse::new(), 1);
            let (n, took) = if given[0] == 1 { (0, 10.0) } else { (1, 0.1) };
            seconds[n] += took;
            fair.charge(Queue::Default, waiting[n].tenant, took);
        }
        assert!((seconds[0] - seconds[1]).abs() <= 10.0, "{seconds:?}");
    }

    #[test]
    fn idleness_is_not_saved_up() {
        let mut fair = Fair::default();
        let busy = [waits(Queue::Default, 1)];
        for _ in 0..100 {
            fair.divide(&busy, &InUse::new(), 1);
            fair.charge(Queue::Default, tenant(1), 1.0);
        }
        let both = [waits(Queue::Default, 1), waits(Queue::Default, 2)];
        let mut turns = [0, 0];
        for _ in 0..100 {
            let given = fair.divide(&both, &InUse::new(), 1);
            let n = if given[0] == 1 { 0 } else { 1 };
            turns[n] += 1;
            fair.charge(Queue::Default, both[n].tenant, 1.0);
        }
        assert!((45..=55).contains(&turns[0]), "{turns:?}");
    }
}
