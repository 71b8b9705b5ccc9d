//! The unit of work: what one invocation, or one request, is about to do.
//!
//! Reads go to the database at once; writes gather here. Nothing is held in the database
//! meanwhile: no transaction, no lock, no connection. [`Unit::commit`] then checks what
//! was seen and writes everything in one short transaction, or nothing.

mod commit;
mod effects;
mod reads;
mod together;
mod writes;

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Instant};

use purlin_domain::{
    Json,
    access::{Decision, Permission},
    audit::AuditEntry,
    error::HostError,
    event::{Cause, NewEvent},
    id::{JobId, RecordId},
    job::NewJob,
    limits::{Limit, UnitLimits},
    principal::Principal,
    record::{CollectionRef, Record},
};
use purlin_store::jobs::Fence;

pub use commit::{Ack, CommitError};
pub(crate) use together::Gathering;

use crate::{
    Platform,
    catalog::{self, Enabled, Loaded},
    jobs::chains,
};

type Key = (CollectionRef, RecordId);
type HostResult<T> = Result<T, HostError>;

/// A record about to be written.
#[derive(Clone, Debug)]
enum Write {
    Create(Record),
    Update { before: Record, after: Record },
    Delete { before: Record },
}

impl Write {
    /// The record as this unit sees it; none once it is deleted.
    fn current(&self) -> Option<&Record> {
        match self {
            Self::Create(record) | Self::Update { after: record, .. } => Some(record),
            Self::Delete { .. } => None,
        }
    }
}

/// A gathering of effects, to be committed together.
pub struct Unit {
    platform: Arc<Platform>,
    principal: Principal,
    cause: Cause,
    /// The plugin whose code acts; none for an ordinary request.
    plugin: Option<Enabled>,
    limits: UnitLimits,
    /// Versions that reads returned; they must still hold at the commit.
    seen: BTreeMap<Key, i64>,
    /// Whether a read found that an earlier one no longer holds: whatever comes of this
    /// unit, it has to be done again.
    stale: bool,
    /// Whether a call failed because the platform could not do it.
    let_down: bool,
    writes: BTreeMap<Key, Write>,
    write_bytes: usize,
    write_calls: usize,
    events: Vec<NewEvent>,
    jobs: Vec<(NewJob, String)>,
    cancels: Vec<(JobId, String)>,
    audit: Vec<AuditEntry>,
    progress: Option<(i64, Option<String>)>,
    /// The claim of the job that this unit does, where others may see how far it is, and
    /// when they were last told.
    told: Option<(Fence, Instant)>,
    /// What the request is answered, for a repetition of it.
    reply: Json,
    /// How many jobs descend from the root cause already, once asked.
    chain_size: Option<i64>,
    plugins: BTreeMap<String, Arc<Loaded>>,
}

impl Unit {
    /// The unit of an ordinary request.
    pub fn for_request(platform: &Arc<Platform>, principal: &Principal) -> Self {
        let cause = Cause { user: principal.on_behalf_of, event: None, root: platform.clock.id(), depth: 0 };
        Self::new(platform, principal.clone(), cause, None)
    }

    /// The unit of a plugin's invocation.
    pub(crate) fn for_invocation(
        platform: &Arc<Platform>,
        principal: Principal,
        cause: Cause,
        plugin: Enabled,
        claim: Fence,
    ) -> Self {
        let unit = Self::new(platform, principal, cause, Some(plugin));
        Self { told: Some((claim, Instant::now())), ..unit }
    }

    /// The unit of a plugin that answers a request, for its caller.
    pub(crate) fn for_route(platform: &Arc<Platform>, principal: Principal, plugin: Enabled) -> Self {
        let cause = Cause { user: principal.on_behalf_of, event: None, root: platform.clock.id(), depth: 0 };
        Self::new(platform, principal, cause, Some(plugin))
    }

    fn new(platform: &Arc<Platform>, principal: Principal, cause: Cause, plugin: Option<Enabled>) -> Self {
        // Whoever acts is enabled, and need not be looked for.
        let known = plugin.iter().map(|own| (own.installation.plugin.clone(), Arc::clone(&own.loaded)));
        let plugins = known.collect();
        Self {
            platform: Arc::clone(platform),
            principal,
            cause,
            plugin,
            limits: platform.settings.limits,
            seen: BTreeMap::new(),
            stale: false,
            let_down: false,
            writes: BTreeMap::new(),
            write_bytes: 0,
            write_calls: 0,
            events: Vec::new(),
            jobs: Vec::new(),
            cancels: Vec::new(),
            audit: Vec::new(),
            progress: None,
            told: None,
            reply: Json::Null,
            chain_size: None,
            plugins,
        }
    }

    /// Who acts.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What led here.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What the request will be answered, once this is committed.
    pub(crate) fn answer(&mut self, reply: Json) {
        self.reply = reply;
    }

    /// Whether a repetition of the request is to get the same answer; of this status, then.
    pub(crate) fn repeatable(&mut self, status: u16) -> bool {
        self.principal.idempotency.as_mut().map(|key| key.status = status).is_some()
    }

    /// Whether the platform itself could not do what was asked of it: whatever came of that
    /// is no failure of the plugin.
    pub fn was_let_down(&self) -> bool {
        self.let_down
    }

    /// Remember that the platform could not do what was asked of it.
    pub fn let_down(&mut self) {
        self.let_down = true;
    }

    /// Whether something it read has changed since. It cannot commit; do it all again.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether the principal may do this to this resource.
    pub fn decide(&self, resource: &str, action: &str) -> Decision {
        self.principal.decide(&Permission::new(resource, action))
    }

    /// Refuse unless the principal may.
    pub fn require(&self, resource: &str, action: &str) -> HostResult<()> {
        let wanted = Permission::new(resource, action);
        match self.principal.decide(&wanted) {
            Decision::Allowed => Ok(()),
            Decision::Denied => Err(HostError::Denied(wanted.to_string())),
            Decision::NotGranted => Err(HostError::NotGranted(wanted.to_string())),
        }
    }

    /// How the decision comes about.
    pub fn explain(&self, resource: &str, action: &str) -> Vec<String> {
        self.principal.authority.explain(&Permission::new(resource, action))
    }

    /// The collection a plugin means: its own by its name, another's as `plugin.collection`.
    pub fn collection_ref(&self, name: &str) -> HostResult<CollectionRef> {
        let (plugin, collection) = match (name.split_once('.'), &self.plugin) {
            (Some(parts), _) => parts,
            (None, Some(own)) => (own.installation.plugin.as_str(), name),
            (None, None) => return Err(HostError::NotFound),
        };
        Ok(CollectionRef { plugin: plugin.to_owned(), collection: collection.to_owned() })
    }

    /// The plugin that owns a collection, if it is enabled here and has it.
    async fn owner(&mut self, of: &CollectionRef) -> HostResult<Arc<Loaded>> {
        let loaded = match self.plugins.get(&of.plugin) {
            Some(loaded) => Arc::clone(loaded),
            None => {
                let loaded = aside(self.find_owner(&of.plugin)).await?;
                self.plugins.insert(of.plugin.clone(), Arc::clone(&loaded));
                loaded
            }
        };
        match loaded.descriptor.collection(&of.collection) {
            Some(_) => Ok(loaded),
            None => Err(HostError::NotFound),
        }
    }

    async fn find_owner(&self, plugin: &str) -> HostResult<Arc<Loaded>> {
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let enabled = catalog::enabled_plugin(&self.platform, &mut tx, plugin).await?;
        Ok(enabled.ok_or(HostError::NotFound)?.loaded)
    }

    /// Refuse to cause more when the chain that led here is long or wide enough.
    async fn extend_chain(&mut self) -> HostResult<()> {
        if self.cause.depth >= self.limits.chain_depth {
            return Err(HostError::Limit(Limit::ChainDepth));
        }
        if self.plugin.is_none() {
            return Ok(());
        }
        let size = match self.chain_size {
            Some(size) => size,
            None => {
                let size = aside(chains::size(&self.platform, self.principal.tenant, self.cause.root)).await?;
                *self.chain_size.insert(size)
            }
        };
        let added = i64::try_from(self.jobs.len()).unwrap_or(i64::MAX);
        if size.saturating_add(added) >= self.limits.chain_size {
            Err(HostError::Limit(Limit::ChainSize))
        } else {
            Ok(())
        }
    }

    fn payload_within(&self, payload: &Json) -> HostResult<usize> {
        let bytes = payload.to_string().len();
        if bytes > self.limits.payload_bytes { Err(HostError::Limit(Limit::PayloadBytes)) } else { Ok(bytes) }
    }
}

/// What is seldom done, on the heap: done in place it would take a large part of the stack
/// that a guest runs on also when it is not done, and that has to be cleared after each run.
fn aside<'a, T>(seldom: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(seldom)
}

fn unavailable(error: purlin_store::StoreError) -> HostError {
    crate::ServiceError::from(error).into()
}
