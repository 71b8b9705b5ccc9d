//! References between records: what a record refers to is there, and what another record of
//! the plugin refers to cannot be deleted.

use std::collections::BTreeSet;

use purlin_domain::{
    Json,
    access::Permission,
    descriptor::Reference,
    error::{HostError, Violation},
    id::RecordId,
    record::CollectionRef,
};
use purlin_store::{
    record_references::{self, NewReference, Referrer},
    records,
};

use super::{HostResult, Unit, Write, aside, unavailable};
use crate::catalog::{self, Loaded};

impl Unit {
    /// Refuse data that refers to a record that is not there, as this unit sees it.
    pub(super) async fn check_references(&self, of: &CollectionRef, data: &Json, owner: &Loaded) -> HostResult<()> {
        for reference in owner.references(&of.collection) {
            let Some(id) = reference.id(data) else { continue };
            let id = id.map_err(|wrong| HostError::Invalid(vec![wrong]))?;
            let to = reference.target(&of.plugin);
            if to.plugin != of.plugin {
                aside(self.require_granted(&of.plugin, Permission::new(to.resource(), "read"))).await?;
            }
            if !aside(self.is_there(&to, id)).await? {
                let pointer = format!("/{}", reference.property);
                let detail = format!("there is no record of {} with this id", to.resource());
                return Err(HostError::Invalid(vec![Violation::new(pointer, "reference", detail)]));
            }
        }
        Ok(())
    }

    /// Refuse to delete a record that others refer to, as this unit sees them.
    pub(super) async fn check_referrers(&self, of: &CollectionRef, id: RecordId) -> HostResult<()> {
        let refers = |collection: &str, id: RecordId| {
            let why = format!("{}.{collection} {id} refers to it", of.plugin);
            Err(HostError::Conflict(why))
        };
        if let Some(owner) = self.plugins.get(&of.plugin) {
            for ((other, from), write) in self.writes.iter().filter(|((other, _), _)| other.plugin == of.plugin) {
                let Some(record) = write.current() else { continue };
                let mut to = held(owner, other, &record.data);
                if to.any(|(_, to, target)| to == of.collection && target == id && *from != id) {
                    return refers(&other.collection, *from);
                }
            }
        }
        // Those that this unit writes were looked at as it leaves them, and it may refer to itself.
        let most = u32::try_from(self.writes.len()).unwrap_or(u32::MAX).saturating_add(2);
        let stored: Vec<Referrer> = aside(async {
            let mut tx = self.platform.db.read(self.principal.tenant).await?;
            record_references::to(&mut tx, of, id, most).await
        })
        .await
        .map_err(unavailable)?;
        let is_written = |referrer: &Referrer| {
            let of = CollectionRef { plugin: of.plugin.clone(), collection: referrer.collection.clone() };
            referrer.record_id == id || self.writes.contains_key(&(of, referrer.record_id))
        };
        match stored.iter().find(|referrer| !is_written(referrer)) {
            Some(Referrer { collection, record_id }) => refers(collection, *record_id),
            None => Ok(()),
        }
    }

    async fn is_there(&self, of: &CollectionRef, id: RecordId) -> HostResult<bool> {
        if let Some(write) = self.writes.get(&(of.clone(), id)) {
            return Ok(write.current().is_some());
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        records::exists(&mut tx, of, id).await.map_err(unavailable)
    }

    /// Refuse where the tenant did not grant this to the plugin that owns what is written.
    async fn require_granted(&self, plugin: &str, wanted: Permission) -> HostResult<()> {
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let owner = catalog::served_plugin(&self.platform, &mut tx, plugin).await?;
        if owner.grants().allows(&wanted) { Ok(()) } else { Err(HostError::NotGranted(wanted.to_string())) }
    }

    /// The references that its writes make, and the records whose former ones go. Those of a
    /// record that is deleted go with it.
    pub(super) fn made_references(&self) -> (Vec<NewReference<'_>>, BTreeSet<&super::Key>) {
        let (mut made, mut gone) = (Vec::new(), BTreeSet::new());
        for (key @ (of, id), write) in &self.writes {
            let Some(owner) = self.plugins.get(&of.plugin) else { continue };
            let Some(after) = write.current() else { continue };
            let new: Vec<_> = held(owner, of, &after.data).collect();
            if let Write::Update { before, .. } = write {
                let old: Vec<_> = held(owner, of, &before.data).collect();
                if old == new {
                    continue;
                }
                gone.insert(key);
            }
            made.extend(new.into_iter().map(|(property, to_collection, to)| NewReference {
                of,
                id: *id,
                property,
                to_collection,
                to,
            }));
        }
        (made, gone)
    }
}

/// What data of a record holds on to: by which property, in which collection, which record.
fn held<'a>(
    owner: &'a Loaded,
    of: &'a CollectionRef,
    data: &'a Json,
) -> impl Iterator<Item = (&'a str, String, RecordId)> {
    let restricting = owner.references(&of.collection).filter(|reference| reference.restricts(&of.plugin));
    restricting.filter_map(move |reference: &Reference| {
        let id = reference.id(data)?.ok()?;
        Some((reference.property.as_str(), reference.target(&of.plugin).collection, id))
    })
}
