//! The bell of the claimer of a process: somebody may have work for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use purlin_store::jobs::Group;
use tokio::sync::Notify;

/// Groups remembered at most, beyond which it was rung for any.
const GROUPS_MAX: usize = 64;

/// Rings when jobs were added or may run now.
#[derive(Default)]
pub struct Bell {
    rung: Notify,
    heard: Mutex<Heard>,
}

/// For whom it was rung since the claimer last asked.
#[derive(Default)]
struct Heard {
    any: bool,
    groups: Vec<Group>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any jobs may be due.
    pub fn ring(&self) {
        self.lock().any = true;
        self.rung.notify_one();
    }

    /// This process added jobs of these groups, and they are due.
    pub(crate) fn ring_for(&self, groups: Vec<Group>) {
        let mut heard = self.lock();
        for group in groups {
            if heard.groups.len() >= GROUPS_MAX {
                heard.any = true;
            } else if !heard.groups.contains(&group) {
                heard.groups.push(group);
            }
        }
        drop(heard);
        self.rung.notify_one();
    }

    /// Returns when it rings, or has since the last time.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// The groups that it was rung for, unless it may be any.
    pub(crate) fn take(&self) -> Option<Vec<Group>> {
        let Heard { any, groups } = std::mem::take(&mut *self.lock());
        (!any && !groups.is_empty()).then_some(groups)
    }
}
