//! Record writes: checked at the call, gathered until the commit.

use std::sync::Arc;

use purlin_domain::{
    Json,
    error::HostError,
    guest::{Verb, WriteToCheck},
    id::RecordId,
    limits::Limit,
    record::{CollectionRef, Record},
};
use purlin_store::records;

use super::{HostResult, Unit, Write, aside, unavailable};
use crate::{catalog::Loaded, checks};

impl Unit {
    /// Create a record.
    pub async fn create(&mut self, of: &CollectionRef, mut data: Json) -> HostResult<Record> {
        self.require(&of.resource(), "create")?;
        let id = self.platform.id();
        self.owner(of).await?.settle(&of.collection, &mut data);
        self.admit(of, id, &data).await?;
        self.check(of, Verb::Create, id, None, Some(&data)).await?;
        let now = self.platform.now();
        let record = Record { id, version: 1, data, created_at: now, updated_at: now };
        self.writes.insert((of.clone(), id), Write::Create(record.clone()));
        Ok(record)
    }

    /// Replace a record's data; with `expected`, only if it has that version.
    pub async fn update(
        &mut self,
        of: &CollectionRef,
        id: RecordId,
        mut data: Json,
        expected: Option<i64>,
    ) -> HostResult<Record> {
        self.require(&of.resource(), "update")?;
        let current = self.find(of, id).await?;
        expect(&current, expected)?;
        self.owner(of).await?.settle(&of.collection, &mut data);
        self.admit(of, id, &data).await?;
        self.check(of, Verb::Update, id, Some(&current.data), Some(&data)).await?;
        let key = (of.clone(), id);
        let now = self.platform.now();
        let write = match self.writes.remove(&key) {
            Some(Write::Create(created)) => Write::Create(Record { data, updated_at: now, ..created }),
            Some(Write::Update { before, after }) => {
                Write::Update { before, after: Record { data, updated_at: now, ..after } }
            }
            Some(Write::Delete { .. }) | None => {
                let after = Record { data, version: current.version + 1, updated_at: now, ..current.clone() };
                Write::Update { before: current, after }
            }
        };
        let after = write.current().cloned().ok_or(HostError::NotFound)?;
        self.writes.insert(key, write);
        Ok(after)
    }

    /// Change a record's data by a JSON Merge Patch; with `expected`, only if it has that version.
    /// A patch that changes nothing is no write.
    pub async fn patch(
        &mut self,
        of: &CollectionRef,
        id: RecordId,
        changes: &Json,
        expected: Option<i64>,
    ) -> HostResult<Record> {
        self.require(&of.resource(), "update")?;
        let current = self.find(of, id).await?;
        expect(&current, expected)?;
        let mut data = current.data.clone();
        json_patch::merge(&mut data, changes);
        if data == current.data {
            return Ok(current);
        }
        self.update(of, id, data, Some(current.version)).await
    }

    /// Delete a record; with `expected`, only if it has that version.
    pub async fn delete(&mut self, of: &CollectionRef, id: RecordId, expected: Option<i64>) -> HostResult<()> {
        self.require(&of.resource(), "delete")?;
        let current = self.find(of, id).await?;
        expect(&current, expected)?;
        self.count_write(0)?;
        self.extend_chain().await?;
        self.check_referrers(of, id).await?;
        self.check(of, Verb::Delete, id, Some(&current.data), None).await?;
        let key = (of.clone(), id);
        match self.writes.remove(&key) {
            Some(Write::Create(_)) => {}
            Some(Write::Update { before, .. }) => {
                self.writes.insert(key, Write::Delete { before });
            }
            Some(Write::Delete { .. }) | None => {
                self.writes.insert(key, Write::Delete { before: current });
            }
        }
        Ok(())
    }

    /// Everything a record has to pass before it is written.
    async fn admit(&mut self, of: &CollectionRef, id: RecordId, data: &Json) -> HostResult<()> {
        let owner = self.owner(of).await?;
        let bytes = self.payload_within(data)?;
        let wrong = owner.record_violations(&self.platform, self.principal.tenant, &of.collection, data).await?;
        if !wrong.is_empty() {
            return Err(HostError::Invalid(wrong));
        }
        self.count_write(bytes)?;
        self.extend_chain().await?;
        self.check_references(of, data, &owner).await?;
        self.check_unique(of, id, data, &owner).await
    }

    /// Let the plugins that check such a write say what is wrong with it. What they read is
    /// guarded as if this unit had read it.
    async fn check(
        &mut self,
        of: &CollectionRef,
        verb: Verb,
        id: RecordId,
        before: Option<&Json>,
        after: Option<&Json>,
    ) -> HostResult<()> {
        let (platform, tenant) = (Arc::clone(&self.platform), self.principal.tenant);
        let (plugins, limits) = aside(checks::checkers(&platform, tenant, of, verb)).await?;
        for plugin in plugins {
            let unit = Box::new(self.for_check(&plugin));
            let (collection, actor) = (of.resource(), self.cause.user);
            let write = WriteToCheck { collection, verb, id, before: before.cloned(), after: after.cloned(), actor };
            let checked = aside(checks::run(&platform, &plugin, unit, write, limits)).await?;
            for (key, version) in checked.seen {
                self.stale |= *self.seen.entry(key).or_insert(version) != version;
            }
            for (key, version) in checked.locks {
                self.stale |= *self.locks.entry(key).or_insert(version) != version;
            }
        }
        Ok(())
    }

    fn count_write(&mut self, bytes: usize) -> HostResult<()> {
        self.writable()?;
        if self.write_calls >= self.limits.writes {
            return Err(HostError::Limit(Limit::Writes));
        }
        if self.write_bytes + bytes > self.limits.write_bytes {
            return Err(HostError::Limit(Limit::WriteBytes));
        }
        self.write_calls += 1;
        self.write_bytes += bytes;
        Ok(())
    }

    /// The usual collision is told at the call, so that a guest can handle it; one that
    /// happens between here and the commit re-runs the invocation.
    async fn check_unique(&self, of: &CollectionRef, id: RecordId, data: &Json, owner: &Loaded) -> HostResult<()> {
        let Some(collection) = owner.descriptor.collection(&of.collection) else { return Err(HostError::NotFound) };
        for (key, value) in collection.unique_values(data) {
            let taken = || HostError::Conflict(format!("another record of {} has this {key}", of.resource()));
            let holds =
                |record: &Record| collection.unique_values(&record.data).contains(&(key.clone(), value.clone()));
            let mut own = self.writes.iter().filter(|((c, other), _)| c == of && *other != id);
            if own.any(|(_, write)| write.current().is_some_and(holds)) {
                return Err(taken());
            }
            let holder = aside(async {
                let mut tx = self.platform.db.read(self.principal.tenant).await?;
                records::holder_of_key(&mut tx, of, &key, &value).await
            });
            let holder = holder.await.map_err(unavailable)?;
            // A holder that this unit rewrote or deleted has given the key up.
            if holder.is_some_and(|holder| holder != id && !self.writes.contains_key(&(of.clone(), holder))) {
                return Err(taken());
            }
        }
        Ok(())
    }
}

fn expect(current: &Record, expected: Option<i64>) -> HostResult<()> {
    match expected {
        Some(version) if version != current.version => {
            Err(HostError::Conflict(format!("the record has version {}, not {version}", current.version)))
        }
        _ => Ok(()),
    }
}
