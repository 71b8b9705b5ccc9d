//! The one claimer of a process: which tenants' jobs its workers run next.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use purlin_domain::{
    fair::{Fair, InUse, Waiting},
    id::{EventId, TenantId},
    job::{CORE, DELIVERY, Queue},
};
use purlin_store::{
    PlatformTx, events,
    jobs::{self, Claimed, Group, Lease, Look, Want},
};
use uuid::Uuid;

use crate::{Platform, Result};

/// Groups looked at in one round, in each queue.
const GROUPS_MAX: u32 = 300;
/// Looks in one round at most.
const LOOKS_MAX: u32 = 50;
/// Between two looks, whatever is told meanwhile.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
/// What one worker is given at a time, when its jobs are quicker than this.
const BUNDLE: Duration = Duration::from_millis(20);
const BUNDLE_MAX: u32 = 256;
/// Jobs that take longer are not claimed ahead of the worker they run on: others would have
/// to wait behind them.
const QUICK: Duration = Duration::from_millis(40);
/// Kinds of which it is remembered how long they take.
const KINDS_MAX: usize = 10_000;

/// What this process can take on.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Workers without a job.
    pub idle: u32,
    /// Those, and the ones that will be without one in a moment.
    pub free: u32,
    /// Jobs that may wait here, leased, for a worker.
    pub room: u32,
}

/// What a look for jobs came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// Jobs that are leased now.
    pub jobs: Vec<Claimed>,
    /// Whether more may wait that could run, were there room for them: then it is worth
    /// looking again when a job ended. Otherwise it is when somebody adds one.
    pub is_more: bool,
}

/// Claims jobs for the workers of one process.
pub struct Claimer {
    lease: Lease,
    fair: Fair,
    /// After which group to go on, where a round could not look at all of them.
    after: [(Queue, Option<Group>); 3],
    /// Whether nobody waited that was not given a worker, when it last looked.
    is_idle: bool,
    /// Who alone waited, when it last looked, and got all there was room for.
    alone: Vec<Group>,
    looked_at: Option<Instant>,
    /// Seconds that jobs of a tenant and kind take, lately.
    seconds: HashMap<(TenantId, String), f64>,
}

impl Claimer {
    /// For this boot of this process.
    pub fn new(worker: Uuid, lease: Duration) -> Self {
        Self {
            lease: Lease { worker, length: lease },
            fair: Fair::default(),
            after: Queue::ALL.map(|queue| (queue, None)),
            is_idle: false,
            alone: Vec::new(),
            looked_at: None,
            seconds: HashMap::new(),
        }
    }

    /// Lease due jobs, the tenants who have the least first.
    pub async fn claim(&mut self, platform: &Platform, load: Load) -> Result<Taken> {
        let mut tx = platform.db.engine().await?;
        let look = match self.known(platform) {
            Some(waiting) => Look { waiting, in_use: Vec::new() },
            None => self.look_far(&mut tx).await?,
        };
        let mut waiting: BTreeMap<(Queue, TenantId), Vec<&Group>> = BTreeMap::new();
        let rests = |group: &Group| group.plugin != CORE && platform.resting.rests(group.tenant_id);
        for group in look.waiting.iter().filter(|g| g.is_runnable && !rests(g)) {
            waiting.entry((group.queue, group.tenant_id)).or_default().push(group);
        }
        if waiting.is_empty() {
            self.is_idle = true;
            return Ok(Taken::default());
        }
        self.is_idle = false;
        let mut running: HashMap<TenantId, u64> = HashMap::new();
        for row in &look.in_use {
            *running.entry(row.tenant_id).or_default() += u64::try_from(row.leases).unwrap_or(0);
        }
        let in_use = self.in_use(&look.in_use);
        let plan = |groups: &[&Group]| platform.settings.plans.get(groups.first().map_or("", |g| g.plan.as_str()));
        let rows: Vec<Waiting> = waiting
            .iter()
            .map(|((queue, tenant), groups)| {
                let plan = plan(groups);
                let weight = f64::from(plan.weight.max(1));
                let running = running.get(tenant).copied().unwrap_or(0);
                Waiting { queue: *queue, tenant: *tenant, weight, running, at_once_max: plan.jobs_at_once_max }
            })
            .collect();
        let mut given = self.fair.divide(&rows, &in_use, load.free);
        self.spare_slow(waiting.values(), &mut given, load.idle);
        let mut room = load.room;
        let mut wanted = Vec::new();
        for (((queue, tenant), groups), (row, workers)) in waiting.iter().zip(rows.iter().zip(given)) {
            let bundle = if row.at_once_max.is_some() { 1 } else { self.bundle(groups) };
            let count = (workers * bundle).min(room);
            if count > 0 {
                room -= count;
                let groups = groups.iter().map(|g| (g.plugin.clone(), g.kind.clone())).collect();
                wanted.push(Want { queue: *queue, tenant: *tenant, groups, count });
            }
        }
        let asked = wanted.len();
        if wanted.is_empty() {
            return Ok(Taken { jobs: Vec::new(), is_more: true });
        }
        let mut claimed = jobs::claim(&mut tx, self.lease, &wanted, platform.now()).await?;
        tx.commit().await?;
        let mut got: HashMap<(Queue, TenantId), u32> = HashMap::new();
        for job in &claimed {
            *got.entry((job.queue, job.tenant_id)).or_default() += 1;
        }
        let got = |want: &Want| got.get(&(want.queue, want.tenant)).copied().unwrap_or(0);
        let is_cut = self.after.iter().any(|(_, after)| after.is_some());
        let is_more = is_cut || asked < waiting.len() || wanted.iter().any(|want| got(want) >= want.count);
        self.is_idle = !is_more;
        let is_alone = is_more && !is_cut && rows.len() == 1 && rows.iter().all(|row| row.at_once_max.is_none());
        self.alone = if is_alone { waiting.values().flatten().copied().cloned().collect() } else { Vec::new() };
        for job in &mut claimed {
            let group = waiting.get(&(job.queue, job.tenant_id)).and_then(|groups| groups.first());
            job.plan = group.map(|g| g.plan.clone()).unwrap_or_default();
        }
        Ok(Taken { jobs: in_turns(claimed), is_more })
    }

    /// Until when those who add jobs may have its workers run them at once, since there is nothing
    /// to divide: nobody waited when it last looked.
    pub fn idle_until(&self) -> Option<Instant> {
        self.looked_at.filter(|_| self.is_idle).map(|at| at + LOOKED_EVERY)
    }

    /// Its lease.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// The groups to claim of without a look, since there is nothing to divide: those of a
    /// tenant who waited alone a moment ago, or of which jobs were added while nobody waited.
    fn known(&self, platform: &Platform) -> Option<Vec<Group>> {
        let is_fresh = self.looked_at.is_some_and(|at| at.elapsed() < BUNDLE);
        if is_fresh && !self.alone.is_empty() { Some(self.alone.clone()) } else { self.told(platform) }
    }

    /// The groups of which jobs were added just now, where nobody else waits.
    fn told(&self, platform: &Platform) -> Option<Vec<Group>> {
        let has_ceiling = |group: &Group| platform.settings.plans.get(&group.plan).jobs_at_once_max.is_some();
        let groups = platform.bell.take()?;
        let is_fresh = self.looked_at.is_some_and(|at| at.elapsed() < LOOKED_EVERY);
        (self.is_idle && is_fresh && !groups.iter().any(has_ceiling)).then_some(groups)
    }

    /// Look who waits; where very many may not run, also at those who lie further on.
    async fn look_far(&mut self, tx: &mut PlatformTx) -> Result<Look> {
        self.looked_at = Some(Instant::now());
        let mut look = self.look(tx).await?;
        for _ in 0..LOOKS_MAX {
            if look.waiting.iter().any(|g| g.is_runnable) || self.after.iter().all(|(_, after)| after.is_none()) {
                break;
            }
            look = self.look(tx).await?;
        }
        Ok(look)
    }

    /// The next groups that wait, in each queue from where the last look ended.
    async fn look(&mut self, tx: &mut PlatformTx) -> Result<Look> {
        let look = jobs::look(tx, &self.after, GROUPS_MAX).await?;
        for (queue, after) in &mut self.after {
            let mut of_queue = look.waiting.iter().filter(|g| g.queue == *queue);
            let is_cut = of_queue.clone().count() >= GROUPS_MAX as usize;
            *after = if is_cut { of_queue.next_back().cloned() } else { None };
        }
        Ok(look)
    }

    /// Charge a tenant for a run, and remember how long its kind takes.
    pub fn ended(&mut self, queue: Queue, tenant: TenantId, kind: &str, took: Duration) {
        let took = took.as_secs_f64();
        self.fair.charge(queue, tenant, took);
        if self.seconds.len() >= KINDS_MAX {
            self.seconds.clear();
        }
        let seconds = self.seconds.entry((tenant, kind.to_owned())).or_insert(took);
        *seconds = *seconds * 0.9 + took * 0.1;
    }

    /// Slow jobs get the workers that are there; beside quick ones as many as these, so that
    /// neither keeps the other away.
    fn spare_slow<'a>(&self, waiting: impl Iterator<Item = &'a Vec<&'a Group>>, given: &mut [u32], idle: u32) {
        let is_slow = |groups: &Vec<&Group>| self.slowest(groups) >= QUICK.as_secs_f64();
        let (slow, quick): (Vec<_>, Vec<_>) = waiting.zip(given).partition(|(groups, _)| is_slow(groups));
        let mut left = idle.max(quick.iter().map(|(_, workers)| **workers).sum());
        for (_, workers) in slow {
            *workers = left.min(*workers);
            left -= *workers;
        }
    }

    /// How many jobs keep a worker busy for a moment: many quick ones, one slow one.
    fn bundle(&self, groups: &[&Group]) -> u32 {
        (BUNDLE.as_secs_f64() / self.slowest(groups).max(1e-6)).clamp(1.0, f64::from(BUNDLE_MAX)) as u32
    }

    /// Seconds that a job of the slowest of these groups takes.
    fn slowest(&self, groups: &[&Group]) -> f64 {
        let seconds = |g: &&Group| self.seconds.get(&(g.tenant_id, g.kind.clone())).copied();
        groups.iter().map(|g| seconds(g).unwrap_or(BUNDLE.as_secs_f64())).fold(0.0, f64::max)
    }

    /// Workers in use, jobs that take next to no time counted as a fraction of one.
    fn in_use(&self, leases: &[jobs::InUse]) -> InUse {
        let mut in_use = InUse::new();
        for row in leases {
            let part = self
                .seconds
                .get(&(row.tenant_id, row.kind.clone()))
                .map_or(1.0, |seconds| (seconds / BUNDLE.as_secs_f64()).min(1.0));
            *in_use.entry((row.queue, row.tenant_id)).or_default() += row.leases as f64 * part;
        }
        in_use
    }
}

/// Bring the small events of deliveries along, which their runs then need not ask for.
pub async fn bring_events(platform: &Platform, claimed: &mut [&mut Claimed]) -> Result<()> {
    let of_event = |job: &Claimed| job.event_id.map(|event| (job.tenant_id, EventId(event)));
    let deliveries = claimed.iter().filter(|job| job.kind == DELIVERY);
    let wanted: HashSet<_> = deliveries.filter_map(|job| of_event(job)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut tx = platform.db.engine().await?;
    let found = events::small(&mut tx, &wanted).await?;
    tx.commit().await?;
    for job in claimed {
        job.event = of_event(job).and_then(|event| found.get(&event).cloned());
    }
    Ok(())
}

/// One of each tenant, then the second of each, and so on; those of a tenant in their order.
fn in_turns(mut claimed: Vec<Claimed>) -> Vec<Claimed> {
    claimed.sort_by_key(|job| job.run_at);
    let mut turns: HashMap<TenantId, usize> = HashMap::new();
    let mut numbered: Vec<(usize, Claimed)> = claimed
        .into_iter()
        .map(|job| {
            let turn = turns.entry(job.tenant_id).or_default();
            *turn += 1;
            (*turn, job)
        })
        .collect();
    numbered.sort_by_key(|(turn, _)| *turn);
    numbered.into_iter().map(|(_, job)| job).collect()
}
