//! Who stands behind a credential, remembered for a moment.
//!
//! A change on this host takes effect at once: it makes everything that was remembered of
//! its tenant stale. A change on another host takes effect when its hint arrives, or when
//! what is remembered ends, whichever comes first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use purlin_domain::{
    access::PermissionSet,
    id::{ApiKeyId, SessionId, TenantId, UserId},
};

/// How long what stands behind a credential is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3);
const ENTRIES_MAX: u64 = 100_000;
/// Tenants that share an epoch forget together, which costs each a look-up.
const EPOCHS: usize = 4_096;

/// A credential, by what names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    Session(TenantId, SessionId, UserId),
    /// With the digest of the key: a wrong secret finds nothing.
    ApiKey(TenantId, ApiKeyId, [u8; 32]),
}

impl Credential {
    fn tenant(&self) -> TenantId {
        match self {
            Self::Session(tenant, ..) | Self::ApiKey(tenant, ..) => *tenant,
        }
    }
}

/// Who stands behind a credential.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) user: UserId,
    pub(crate) permissions: PermissionSet,
    pub(crate) scopes: Option<PermissionSet>,
    pub(crate) plan: String,
    pub(crate) is_operator: bool,
}

pub(crate) struct AccessCache {
    known: Cache<Credential, (u64, Arc<Known>)>,
    epochs: Vec<AtomicU64>,
}

impl AccessCache {
    pub(crate) fn new() -> Self {
        Self {
            known: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(REMEMBERED).build(),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn epoch(&self, tenant: TenantId) -> Option<&AtomicU64> {
        let [.., a, b] = *tenant.0.as_bytes();
        self.epochs.get(usize::from(u16::from_le_bytes([a, b])) % EPOCHS)
    }

    /// To be asked before the database is: what is found there may be remembered only if
    /// nothing changed meanwhile.
    pub(crate) fn now(&self, tenant: TenantId) -> u64 {
        self.epoch(tenant).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }

    pub(crate) fn get(&self, credential: &Credential) -> Option<Arc<Known>> {
        let (epoch, known) = self.known.get(credential)?;
        (epoch == self.now(credential.tenant())).then_some(known)
    }

    pub(crate) fn remember(&self, credential: Credential, asked_at: u64, known: Arc<Known>) {
        self.known.insert(credential, (asked_at, known));
    }

    /// Whatever is remembered of this tenant is stale now.
    pub(crate) fn forget(&self, tenant: TenantId) {
        if let Some(epoch) = self.epoch(tenant) {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_asked_before_a_change_is_not_remembered_after_it() {
        let cache = AccessCache::new();
        let tenant = TenantId(Uuid::from_u128(7));
        let credential = Credential::Session(tenant, SessionId(Uuid::nil()), UserId(Uuid::nil()));
        let known = || {
            Arc::new(Known {
                user: UserId(Uuid::nil()),
                permissions: PermissionSet::all(),
                scopes: None,
                plan: String::new(),
                is_operator: false,
            })
        };
        let asked_at = cache.now(tenant);
        cache.remember(credential, asked_at, known());
        assert!(cache.get(&credential).is_some());
        let asked_at = cache.now(tenant);
        cache.forget(tenant);
        assert!(cache.get(&credential).is_none());
        cache.remember(credential, asked_at, known());
        assert!(cache.get(&credential).is_none(), "it was asked before the change");
        cache.remember(credential, cache.now(tenant), known());
        assert!(cache.get(&credential).is_some());
    }
}
