//! The unit of work: what one invocation, or one request, is about to do.
//!
//! Reads go to the database at once; writes gather here. Nothing is held in the database
//! meanwhile: no transaction, no lock, no connection. [`Unit::commit`] then checks what
//! was seen and writes everything in one short transaction, or nothing.

mod commit;
mod effects;
mod fetch;
mod files;
mod locks;
mod marks;
mod reads;
mod references;
mod room;
mod settings;
mod together;
mod writes;

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Instant};

use purlin_domain::{
    Json,
    access::{Authority, Decision, Permission},
    audit::AuditEntry,
    error::HostError,
    event::{Cause, NewEvent},
    guest::Step,
    id::{JobId, RecordId},
    job::NewJob,
    limits::{Limit, UnitLimits},
    principal::{Actor, Principal},
    record::{CollectionRef, Record},
};
use purlin_store::jobs::Fence;
use uuid::Uuid;

use self::{files::FileWrite, locks::LockKey};

pub use commit::{Ack, CommitError};
pub use fetch::Sent;
pub(crate) use files::{content_key, forget_contents};
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
    /// Keys that were locked, with the version each had; it must still hold at the commit.
    locks: BTreeMap<LockKey, Option<Uuid>>,
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
    /// Files about to be written, and the contents of those that were read.
    files: BTreeMap<String, FileWrite>,
    files_seen: BTreeMap<String, Uuid>,
    /// Digests of the requests this run sent, and what all runs of the invocation sent.
    fetches: Vec<[u8; 32]>,
    sent: Sent,
    /// The step to be taken again, with how often it was.
    again: Option<(Step, u32)>,
    /// Whether it only checks what another is about to write.
    is_check: bool,
    plugins: BTreeMap<String, Arc<Loaded>>,
}

impl Unit {
    /// The unit of an ordinary request.
    pub fn for_request(platform: &Arc<Platform>, principal: &Principal) -> Self {
        let cause = platform.first_cause(principal.on_behalf_of, principal.origin.trace);
        Self::new(platform, principal.clone(), cause, None)
    }

    /// The unit of a plugin's invocation.
    pub(crate) fn for_invocation(
        platform: &Arc<Platform>,
        principal: Principal,
        cause: Cause,
        plugin: Enabled,
        claim: Fence,
        sent: Sent,
    ) -> Self {
        let unit = Self::new(platform, principal, cause, Some(plugin));
        Self { told: Some((claim, Instant::now())), sent, ..unit }
    }

    /// The unit of a plugin that answers a request, for its caller.
    pub(crate) fn for_route(platform: &Arc<Platform>, principal: Principal, plugin: Enabled, sent: Sent) -> Self {
        let call = platform.open_trace(principal.origin.trace);
        let cause = platform.first_cause(principal.on_behalf_of, Some(call));
        Self { sent, ..Self::new(platform, principal, cause, Some(plugin)) }
    }

    /// The unit of a plugin that checks what this one is about to write: it sees that, and can
    /// write nothing.
    fn for_check(&self, plugin: &Enabled) -> Self {
        let plan = self.principal.authority.plan.clone();
        let authority = Authority { user: None, scopes: None, grants: Some(plugin.grants()), plan };
        let principal = Principal {
            actor: Actor::Plugin(plugin.installation.plugin.clone()),
            on_behalf_of: self.cause.user,
            authority: Arc::new(authority),
            session: None,
            operator: false,
            idempotency: None,
            ..self.principal.clone()
        };
        let cause = Cause { trace: self.cause.trace.child(self.platform.id()), ..self.cause.clone() };
        let unit = Self::new(&self.platform, principal, cause, Some(plugin.clone()));
        Self { is_check: true, writes: self.writes.clone(), ..unit }
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
            locks: BTreeMap::new(),
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
            files: BTreeMap::new(),
            files_seen: BTreeMap::new(),
            fetches: Vec::new(),
            sent: Sent::default(),
            again: None,
            is_check: false,
            plugins,
        }
    }

    /// Take this step again once this is committed; it was taken so often before.
    pub fn again(&mut self, step: Step, rounds: u32) {
        self.again = Some((step, rounds));
    }

    /// How much of each limit is used: its name, what there is, what is used.
    pub fn used(&self) -> [(&'static str, usize, usize); 8] {
        let limits = &self.limits;
        [
            ("writes", limits.writes, self.write_calls),
            ("write-bytes", limits.write_bytes, self.write_bytes),
            ("events", limits.events, self.events.len()),
            ("jobs", limits.jobs, self.jobs.len()),
            ("audit-entries", limits.audit_entries, self.audit.len()),
            ("files", limits.files, self.files.len()),
            ("fetches", limits.fetches, self.fetches.len()),
            ("chain-depth", limits.chain_depth as usize, self.cause.depth as usize),
        ]
    }

    /// How many effects were gathered.
    pub fn effects(&self) -> usize {
        self.writes.len()
            + self.events.len()
            + self.jobs.len()
            + self.cancels.len()
            + self.audit.len()
            + self.files.len()
            + usize::from(self.progress.is_some())
    }

    /// How many requests it sent.
    pub fn fetched(&self) -> usize {
        self.fetches.len()
    }

    /// Bytes of the records and files it gathered.
    pub fn written_bytes(&self) -> usize {
        self.write_bytes
    }

    /// Refuse to write where nothing can be written.
    fn writable(&self) -> HostResult<()> {
        if self.is_check {
            return Err(HostError::invalid("", "check", "nothing can be written or sent while a write is checked"));
        }
        Ok(())
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
        Ok(catalog::served_plugin(&self.platform, &mut tx, plugin).await?.loaded)
    }

    /// Refuse to cause more when the chain that led here is long or wide enough.
    async fn extend_chain(&mut self) -> HostResult<()> {
        if self.cause.depth >= self.limits.chain_depth {
            return Err(HostError::Limit(Limit::ChainDepth));
        }
        if self.plugin.is_none() {
            return Ok(());
        }
        let (tenant, root, max) = (self.principal.tenant, self.cause.root, self.limits.chain_size);
        Ok(aside(chains::grow(&self.platform, tenant, root, max)).await?)
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
