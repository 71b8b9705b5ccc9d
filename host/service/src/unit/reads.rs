//! Reads: from the database, with this unit's own writes on top.

use purlin_domain::{
    Json,
    descriptor::Collection,
    error::HostError,
    filter::{Filter, Operand},
    id::{RecordId, UserId},
    limits::Limit,
    record::{CollectionRef, Record, RecordPage},
    sort,
};
use purlin_store::{Slice, records, tenants, tenants::Tenant, users, users::User};

use super::{HostResult, Unit, Write, unavailable};
use crate::{
    catalog::Loaded,
    indexes,
    list::{self, ListQuery, Prepared, Sortable},
};

impl Unit {
    /// The tenant.
    pub async fn tenant(&self) -> HostResult<Tenant> {
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        tenants::own(&mut tx).await.map_err(unavailable)?.ok_or(HostError::NotFound)
    }

    /// A user of the tenant.
    pub async fn user(&self, id: UserId) -> HostResult<User> {
        self.require("users", "read")?;
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        users::by_id(&mut tx, id).await.map_err(unavailable)?.ok_or(HostError::NotFound)
    }

    /// A record. The commit will insist that it has not changed.
    pub async fn get(&mut self, of: &CollectionRef, id: RecordId) -> HostResult<Record> {
        self.require(&of.resource(), "read")?;
        self.find(of, id).await
    }

    /// A record, for a caller that is about to change it and is checked for that.
    pub(crate) async fn find(&mut self, of: &CollectionRef, id: RecordId) -> HostResult<Record> {
        self.owner(of).await?;
        self.current(of, id).await
    }

    /// The record as this unit sees it, its version remembered.
    pub(super) async fn current(&mut self, of: &CollectionRef, id: RecordId) -> HostResult<Record> {
        let key = (of.clone(), id);
        if let Some(write) = self.writes.get(&key) {
            return write.current().cloned().ok_or(HostError::NotFound);
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let record = records::by_id(&mut tx, of, id).await.map_err(unavailable)?;
        if self.seen.get(&key).is_some_and(|version| record.as_ref().map(|r| r.version) != Some(*version)) {
            self.stale = true;
            return Err(HostError::Conflict("the record changed between two reads".to_owned()));
        }
        let record = record.ok_or(HostError::NotFound)?;
        self.seen.insert(key, record.version);
        Ok(record)
    }

    /// A page of a collection, this unit's writes merged in.
    pub async fn query(&mut self, of: &CollectionRef, query: &ListQuery) -> HostResult<RecordPage> {
        self.require(&of.resource(), "read")?;
        if query.size.is_some_and(|size| size > self.limits.query_rows || size == 0) {
            return Err(HostError::Limit(Limit::QueryRows));
        }
        let owner = self.owner(of).await?;
        let collection = collection(&owner, of)?;
        let resource = format!("apps/{}/{}", of.plugin, of.collection);
        let prepared = Prepared::new(&self.platform, self.principal.tenant, &resource, &collection.fields(), query)?;
        let written: Vec<(RecordId, Option<Record>)> =
            self.written(of).map(|(id, write)| (id, write.current().cloned())).collect();
        let margin = u32::try_from(written.len()).unwrap_or(u32::MAX);
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let after = prepared.from.as_deref();
        let lookup = indexes::lookup(&mut tx, of, collection, &prepared.filter).await?;
        let size = prepared.size.saturating_add(margin);
        let slice = Slice { size, lookup: lookup.as_ref(), ..prepared.slice() };
        let page = records::list(&mut tx, of, &slice).await.map_err(unavailable)?;
        // Where more follows, it follows this row, whether this unit rewrote it or not.
        let edge = page.rows.last().filter(|_| page.more).cloned();
        let mut rows: Vec<Record> =
            page.rows.into_iter().filter(|row| written.iter().all(|(id, _)| *id != row.id)).collect();
        let values = |row: &Record| values(&prepared, row);
        let within = |row: &Record| {
            let own = values(row);
            after.is_none_or(|after| sort::compare(&prepared.sort, &own, after).is_gt())
                && edge.as_ref().is_none_or(|edge| sort::compare(&prepared.sort, &own, &values(edge)).is_le())
        };
        rows.extend(
            written.into_iter().filter_map(|(_, row)| row).filter(|row| passes(&prepared.filter, row) && within(row)),
        );
        rows.sort_by(|a, b| sort::compare(&prepared.sort, &values(a), &values(b)));
        let size = prepared.size as usize;
        let last = if rows.len() > size { rows.get(size - 1) } else { edge.as_ref() };
        let next = last.map(|last| prepared.cursor(&self.platform, last));
        rows.truncate(size);
        Ok(RecordPage { rows, next })
    }

    /// How many records pass, this unit's writes counted.
    pub async fn count(&mut self, of: &CollectionRef, tree: Option<&Json>) -> HostResult<i64> {
        self.require(&of.resource(), "read")?;
        let owner = self.owner(of).await?;
        let collection = collection(&owner, of)?;
        let filter = list::tree_filter(tree, &collection.fields())?;
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let lookup = indexes::lookup(&mut tx, of, collection, &filter).await?;
        let stored = records::count(&mut tx, of, &filter, lookup.as_ref()).await.map_err(unavailable)?;
        let difference: i64 = self
            .written(of)
            .map(|(_, write)| {
                let before = match write {
                    Write::Create(_) => None,
                    Write::Update { before, .. } | Write::Delete { before } => Some(before),
                };
                let counts = |row: Option<&Record>| i64::from(row.is_some_and(|row| passes(&filter, row)));
                counts(write.current()) - counts(before)
            })
            .sum();
        Ok(stored + difference)
    }

    fn written<'a>(&'a self, of: &'a CollectionRef) -> impl Iterator<Item = (RecordId, &'a Write)> {
        self.writes.iter().filter(move |((collection, _), _)| collection == of).map(|((_, id), write)| (*id, write))
    }
}

fn collection<'a>(owner: &'a Loaded, of: &CollectionRef) -> HostResult<&'a Collection> {
    owner.descriptor.collection(&of.collection).ok_or(HostError::NotFound)
}

/// The values of the sort keys.
fn values(prepared: &Prepared, row: &Record) -> Vec<Option<Operand>> {
    prepared.sort.iter().map(|key| row.operand(&key.field)).collect()
}

fn passes(filter: &Filter, row: &Record) -> bool {
    filter.matches(&|field| row.operand(field))
}
