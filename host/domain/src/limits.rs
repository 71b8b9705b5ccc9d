//! The limits an invocation lives under, on by default.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::plan::InvocationCeilings;

/// A limit by name: what a typed error, the plugin log and the metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Wall-clock time of the invocation.
    Wall,
    /// CPU time of the invocation.
    Cpu,
    /// Bytes over all linear memories and tables.
    Memory,
    /// Calls from the guest to the host.
    HostCalls,
    /// Bytes lifted from the guest in one host call.
    CallBytes,
    /// Bytes lifted from the guest in all host calls.
    LiftedBytes,
    /// Rows asked of one query.
    QueryRows,
    /// Time that the database takes for one query.
    QueryTime,
    /// Writes gathered in the invocation.
    Writes,
    /// Bytes of writes gathered in the invocation.
    WriteBytes,
    /// Events published by the invocation.
    Events,
    /// Jobs enqueued by the invocation.
    Jobs,
    /// Audit entries recorded by the invocation.
    AuditEntries,
    /// Bytes of one payload.
    PayloadBytes,
    /// Length of the chain of events and jobs.
    ChainDepth,
    /// Invocations that descend from one root cause.
    ChainSize,
    /// Bytes of record data that the tenant's plan has room for.
    Storage,
    /// Bytes of everything beside records and files that the tenant's plan has room for.
    OtherBytes,
    /// Waiting jobs that the tenant's plan has room for.
    QueuedJobs,
    /// Requests sent by the invocation.
    Fetches,
    /// Bytes of one answer to a request that was sent.
    ResponseBytes,
    /// Files written by the invocation.
    Files,
    /// Bytes of files that the tenant's plan has room for.
    FileBytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::HostCalls => "host_calls",
            Self::CallBytes => "call_bytes",
            Self::LiftedBytes => "lifted_bytes",
            Self::QueryRows => "query_rows",
            Self::QueryTime => "query_time",
            Self::Writes => "writes",
            Self::WriteBytes => "write_bytes",
            Self::Events => "events",
            Self::Jobs => "jobs",
            Self::AuditEntries => "audit_entries",
            Self::PayloadBytes => "payload_bytes",
            Self::ChainDepth => "chain_depth",
            Self::ChainSize => "chain_size",
            Self::Storage => "storage",
            Self::OtherBytes => "other_bytes",
            Self::QueuedJobs => "queued_jobs",
            Self::Fetches => "fetches",
            Self::ResponseBytes => "response_bytes",
            Self::Files => "files",
            Self::FileBytes => "file_bytes",
        })
    }
}

/// What bounds the guest code itself; the runtime enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Wall-clock time of one call.
    pub wall: Duration,
    /// CPU time of one call.
    pub cpu: Duration,
    /// Bytes over all linear memories and tables together.
    pub memory_bytes: usize,
    /// Calls from the guest to the host.
    pub host_calls: u32,
    /// Bytes lifted from the guest in one host call.
    pub call_bytes: usize,
    /// Bytes lifted from the guest in all host calls.
    pub lifted_bytes: usize,
    /// Bytes of log kept.
    pub log_bytes: usize,
}

impl GuestLimits {
    /// The limits of handling an event: 5 s of wall, 500 ms of CPU.
    pub const EVENT: Self = Self {
        wall: Duration::from_secs(5),
        cpu: Duration::from_millis(500),
        memory_bytes: 64 << 20,
        host_calls: 1_000,
        call_bytes: 4 << 20,
        lifted_bytes: 16 << 20,
        log_bytes: 64 << 10,
    };

    /// The limits of answering a request: those of an event.
    pub const REQUEST: Self = Self::EVENT;

    /// The limits of checking a write: 250 ms of wall and of CPU.
    pub const CHECK: Self = Self { wall: Duration::from_millis(250), cpu: Duration::from_millis(250), ..Self::EVENT };

    /// The limits of a step in the life of a plugin: those of a job of one minute.
    pub const LIFECYCLE: Self = Self::job(Duration::from_secs(60));

    /// The limits of `describe`: 1 s of wall, 500 ms of CPU.
    pub const DESCRIBE: Self = Self { wall: Duration::from_secs(1), ..Self::EVENT };

    /// The limits of a job that declared this timeout: 10 s of CPU.
    pub const fn job(timeout: Duration) -> Self {
        Self { wall: timeout, cpu: Duration::from_secs(10), ..Self::EVENT }
    }

    /// These, where a plan does not set lower ones.
    pub fn within(self, plan: &InvocationCeilings) -> Self {
        let time = |own: Duration, ms: Option<u64>| ms.map_or(own, |ms| own.min(Duration::from_millis(ms)));
        let bytes =
            |own: usize, max: Option<u64>| max.map_or(own, |max| own.min(usize::try_from(max).unwrap_or(usize::MAX)));
        Self {
            wall: time(self.wall, plan.wall_ms_max),
            cpu: time(self.cpu, plan.cpu_ms_max),
            memory_bytes: bytes(self.memory_bytes, plan.memory_bytes_max),
            host_calls: plan.host_calls_max.map_or(self.host_calls, |max| self.host_calls.min(max)),
            call_bytes: self.call_bytes,
            lifted_bytes: bytes(self.lifted_bytes, plan.lifted_bytes_max),
            log_bytes: bytes(self.log_bytes, plan.log_bytes_max),
        }
    }
}

/// What bounds the unit of work of one invocation; the service enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitLimits {
    /// Record writes.
    pub writes: usize,
    /// Bytes of record data over all writes.
    pub write_bytes: usize,
    /// Events published.
    pub events: usize,
    /// Jobs enqueued.
    pub jobs: usize,
    /// Audit entries recorded.
    pub audit_entries: usize,
    /// Bytes of one event, job or record.
    pub payload_bytes: usize,
    /// Rows of one query.
    pub query_rows: u32,
    /// Requests sent.
    pub fetches: usize,
    /// Files written or deleted.
    pub files: usize,
    /// Steps from a request to the end of its chain.
    pub chain_depth: u32,
    /// Invocations that descend from one root cause.
    pub chain_size: i64,
    /// How often an invocation is run again after a conflict, before the conflict counts as a failure.
    pub reruns: u32,
}

impl Default for UnitLimits {
    fn default() -> Self {
        Self {
            writes: 500,
            write_bytes: 4 << 20,
            events: 100,
            jobs: 100,
            audit_entries: 100,
            payload_bytes: 1 << 20,
            query_rows: 200,
            fetches: 8,
            files: 100,
            chain_depth: 16,
            chain_size: 1_000,
            reruns: 5,
        }
    }
}

/// Bytes of a component at most.
pub const COMPONENT_BYTES_MAX: usize = 32 << 20;
/// Bytes of an ordinary request body at most.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Times a job may take its worker down before it is dead-lettered.
pub const CRASHES_MAX: i64 = 3;
