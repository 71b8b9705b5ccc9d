//! Whether there is room for what units write, below the ceilings of the tenant's plan.

use purlin_domain::{Json, document::weight};
use purlin_store::TenantTx;

use super::{Unit, Write, commit::Ending};
use crate::{
    Platform, Result,
    storage::{self, Kind},
};

/// Take the room that units need, or refuse them.
pub(super) async fn take(platform: &Platform, tx: &mut TenantTx, endings: &[Ending]) -> Result<()> {
    let growth = endings.iter().map(|ending| ending.unit.growth()).sum();
    if growth != 0 {
        storage::grow(platform, tx, Kind::Records, growth).await?;
    }
    if endings.iter().any(|ending| !ending.unit.makes_room()) {
        storage::check_room(platform, tx, Kind::Other, 1).await?;
    }
    Ok(())
}

impl Unit {
    /// By how many bytes of record data the tenant grows.
    fn growth(&self) -> i64 {
        let bytes = |data: &Json| i64::try_from(data.to_string().len()).unwrap_or(i64::MAX);
        let of = |write: &Write| match write {
            Write::Create(record) => bytes(&record.data),
            Write::Update { before, after } => bytes(&after.data) - bytes(&before.data),
            Write::Delete { before } => -bytes(&before.data),
        };
        self.writes.values().map(of).sum()
    }

    /// Whether nothing comes of it but that something is gone, or half as long: that is done at every
    /// ceiling.
    fn makes_room(&self) -> bool {
        let is_less = |write: &Write| match write {
            Write::Create(_) => false,
            Write::Update { before, after } => 2 * weight(&after.data) <= weight(&before.data),
            Write::Delete { .. } => true,
        };
        self.events.is_empty() && self.jobs.is_empty() && self.audit.is_empty() && self.writes.values().all(is_less)
    }
}
