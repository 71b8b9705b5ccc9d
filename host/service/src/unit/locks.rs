//! Locks of keys, for rules over a set of records. Nothing is held in the database while guest code
//! runs: a lock is the version that the key had, and the commit insists on it and gives it another.

use std::collections::BTreeMap;

use purlin_domain::{error::HostError, limits::Limit};
use purlin_store::{TenantTx, record_locks};

use super::{
    HostResult, Unit,
    commit::{CommitError, Ending},
    unavailable,
};

/// The plugin, and its key.
pub(super) type LockKey = (String, String);

const KEY_BYTES_MAX: usize = 200;

impl Unit {
    /// Lock a key of the acting plugin: what is read from now on holds at the commit, with respect
    /// to every writer that locks the same key.
    pub async fn lock(&mut self, key: &str) -> HostResult<()> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
            return Err(HostError::invalid("/key", "length", format!("1 to {KEY_BYTES_MAX} bytes, none of them 0")));
        }
        let lock = (self.acting()?.installation.plugin.clone(), key.to_owned());
        if self.locks.contains_key(&lock) {
            return Ok(());
        }
        if self.locks.len() >= self.limits.writes {
            return Err(HostError::Limit(Limit::Writes));
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let version = record_locks::version(&mut tx, &lock.0, &lock.1).await.map_err(unavailable)?;
        self.locks.insert(lock, version);
        Ok(())
    }

    /// The keys it locked.
    pub(super) fn locked(&self) -> impl Iterator<Item = &LockKey> {
        self.locks.keys()
    }
}

/// Take the locks of units that commit together, in the order of their keys: each key must have the
/// version it had.
pub(super) async fn take(tx: &mut TenantTx, endings: &[Ending]) -> Result<(), CommitError> {
    let mut locks = BTreeMap::new();
    for Ending { unit, .. } in endings {
        for (lock, version) in &unit.locks {
            if locks.insert(lock, (unit, *version)).is_some() {
                return Err(CommitError::Conflict(format!("the key {} is locked by another", lock.1)));
            }
        }
    }
    for ((plugin, key), (unit, version)) in locks {
        let (next, now) = (unit.platform.clock.id(), unit.platform.now());
        if !record_locks::take(tx, plugin, key, version, next, now).await? {
            return Err(CommitError::Conflict(format!("another locked the key {key} of {plugin} meanwhile")));
        }
    }
    Ok(())
}
