//! What a tenant's plan includes: permissions, and ceilings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Permission, PermissionSet};

/// The plan a tenant is on when nobody chose another.
pub const DEFAULT: &str = "standard";

/// Ceilings of each invocation of a plugin, below what holds for everybody. One that is missing
/// is that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvocationCeilings {
    /// Milliseconds of wall-clock time.
    pub wall_ms_max: Option<u64>,
    /// Milliseconds of CPU time.
    pub cpu_ms_max: Option<u64>,
    /// Bytes over all linear memories and tables together.
    pub memory_bytes_max: Option<u64>,
    /// Calls from the guest to the host.
    pub host_calls_max: Option<u32>,
    /// Bytes lifted from the guest in all host calls.
    pub lifted_bytes_max: Option<u64>,
    /// Bytes of log kept.
    pub log_bytes_max: Option<u64>,
}

/// A plan. A ceiling that is missing is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What its tenants may do at all; cuts what roles and grants say.
    #[serde(default = "everything")]
    pub permissions: PermissionSet,
    /// Users who are not deleted, at most.
    pub users_max: Option<u64>,
    /// Enabled plugins at most.
    pub plugins_max: Option<u64>,
    /// Invocations of plugins that begin within one minute, at most.
    pub invocations_per_minute_max: Option<u64>,
    /// Jobs that run at the same time, at most, over all hosts.
    pub jobs_at_once_max: Option<u64>,
    /// Jobs that wait at the same time, at most. More are refused.
    pub queued_jobs_max: Option<u64>,
    /// Its tenants' part of the workers beside those of other plans, 1 unless it says.
    #[serde(default = "weight")]
    pub weight: u32,
    /// Bytes of record data at most.
    pub storage_bytes_max: Option<u64>,
    /// Bytes of everything beside records and files, at most: audit rows, events, jobs, kept answers,
    /// logs of plugins, settings, people and what belongs to them.
    pub other_bytes_max: Option<u64>,
    /// Seconds of CPU time that plugins take within a day (UTC), at most.
    pub cpu_seconds_per_day_max: Option<u64>,
    /// Bytes of files that plugins keep, at most.
    pub file_bytes_max: Option<u64>,
    /// What each invocation of a plugin may take.
    #[serde(default)]
    pub invocation: InvocationCeilings,
    /// Days that rows of the audit log are kept; for ever when missing.
    pub audit_days: Option<u32>,
}

fn weight() -> u32 {
    1
}

fn everything() -> PermissionSet {
    PermissionSet::all()
}

/// The plans of a host, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plans(pub BTreeMap<String, Plan>);

impl Default for Plans {
    fn default() -> Self {
        let plan = |users_max, plugins_max, invocations_per_minute_max, storage_bytes_max, audit_days| Plan {
            permissions: PermissionSet::all(),
            users_max,
            plugins_max,
            invocations_per_minute_max,
            jobs_at_once_max: None,
            queued_jobs_max: None,
            weight: weight(),
            storage_bytes_max,
            // A write of a record is told in an event, in the audit log and to subscribers.
            other_bytes_max: storage_bytes_max.map(|bytes| 4 * bytes),
            cpu_seconds_per_day_max: None,
            file_bytes_max: storage_bytes_max,
            invocation: InvocationCeilings::default(),
            audit_days,
        };
        Self(BTreeMap::from([
            (
                "free".to_owned(),
                Plan {
                    jobs_at_once_max: Some(2),
                    queued_jobs_max: Some(1_000),
                    cpu_seconds_per_day_max: Some(600),
                    ..plan(Some(5), Some(2), Some(60), Some(100 << 20), Some(30))
                },
            ),
            (
                DEFAULT.to_owned(),
                Plan {
                    queued_jobs_max: Some(100_000),
                    cpu_seconds_per_day_max: Some(36_000),
                    weight: 2,
                    ..plan(Some(10_000), Some(50), Some(6_000), Some(10 << 30), Some(365))
                },
            ),
            ("unlimited".to_owned(), plan(None, None, None, None, None)),
        ]))
    }
}

impl Plans {
    /// The plan of this name. One that the host no longer knows includes nothing.
    pub fn get(&self, name: &str) -> Plan {
        self.0.get(name).cloned().unwrap_or(Plan {
            permissions: PermissionSet::default(),
            users_max: Some(0),
            plugins_max: Some(0),
            invocations_per_minute_max: Some(0),
            jobs_at_once_max: Some(0),
            queued_jobs_max: Some(0),
            weight: weight(),
            storage_bytes_max: Some(0),
            other_bytes_max: Some(0),
            cpu_seconds_per_day_max: Some(0),
            file_bytes_max: Some(0),
            invocation: InvocationCeilings::default(),
            audit_days: None,
        })
    }

    /// Whether there is a plan of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The permissions of the roles that every tenant has: name, what it is for, permissions.
pub fn system_roles() -> [(&'static str, &'static str, Vec<Permission>); 3] {
    [
        (ADMIN, "May do everything in the tenant", vec![Permission::new("*", "*")]),
        (
            "member",
            "May see everything in the tenant and enqueue jobs",
            vec![Permission::new("*", "read"), Permission::new("jobs", "create")],
        ),
        ("viewer", "May see everything in the tenant", vec![Permission::new("*", "read")]),
    ]
}

/// The system role that may do everything. A tenant never loses its last one.
pub const ADMIN: &str = "admin";
