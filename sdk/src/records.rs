//! Records of collections, with their data as a Rust type.
//!
//! Reads see the writes of this invocation. What [`Collection::get`] returned is guarded:
//! if it changes before the invocation commits, the whole invocation runs again.
//! [`Collection::query`] and [`Collection::count`] do not guard against records that
//! appear meanwhile; where that matters, as for the rule that no two bookings overlap, [`lock`] a
//! key that stands for the set before.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Error, bindings::purlin::platform::records as wit, changes};

/// A collection whose records have data of type `T`.
#[derive(Clone, Debug)]
pub struct Collection<T> {
    name: String,
    data: PhantomData<T>,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Record<T> {
    /// Its id.
    pub id: String,
    /// 1 when created, one more with each invocation that updates it.
    pub version: u64,
    /// Its data.
    pub data: T,
    /// When it was created, in RFC 3339.
    pub created_at: String,
    /// When it last changed, in RFC 3339.
    pub updated_at: String,
    /// The data as it was read, with members that `T` does not know.
    read: String,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The records.
    pub rows: Vec<Record<T>>,
    /// Pass to [`Query::after`] for the next page; none on the last.
    pub next: Option<String>,
}

/// The collection of this name: one of the plugin's own, or `plugin.collection` of
/// another, which must be granted.
pub fn collection<T>(name: &str) -> Collection<T> {
    Collection { name: name.to_owned(), data: PhantomData }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// A record.
    pub fn get(&self, id: &str) -> Result<Record<T>, Error> {
        typed(wit::get(&self.name, id)?)
    }

    /// Create a record.
    pub fn create(&self, data: &T) -> Result<Record<T>, Error> {
        typed(wit::create(&self.name, &text(data)?)?)
    }

    /// Write what has changed of a record since it was read; `Conflict` if another changed it
    /// meanwhile. Members that `T` does not know stay as they are.
    pub fn update(&self, record: &Record<T>) -> Result<Record<T>, Error> {
        let shape = |error: serde_json::Error| Error::shape(&error);
        let read: Value = serde_json::from_str(&record.read).map_err(shape)?;
        let known: T = serde_json::from_str(&record.read).map_err(shape)?;
        let known = serde_json::to_value(known).map_err(shape)?;
        let now = serde_json::to_value(&record.data).map_err(shape)?;
        let wanted = changes::overlay(read.clone(), &known, &now);
        let (id, version) = (&record.id, Some(record.version));
        typed(match changes::merge_patch(&read, &wanted) {
            Some(patch) => wit::patch(&self.name, id, &patch.to_string(), version)?,
            None => wit::update(&self.name, id, &wanted.to_string(), version)?,
        })
    }

    /// Change a record by a JSON Merge Patch (RFC 7396), whatever its version: members that the patch
    /// does not name stay as they are, those it gives as null are removed.
    pub fn patch(&self, id: &str, changes: &Value) -> Result<Record<T>, Error> {
        typed(wit::patch(&self.name, id, &changes.to_string(), None)?)
    }

    /// Delete a record.
    pub fn delete(&self, id: &str) -> Result<(), Error> {
        Ok(wit::delete(&self.name, id)?)
    }

    /// Begin a query.
    pub fn query(&self) -> Query<'_, T> {
        Query { collection: self, filters: Vec::new(), sort: Vec::new(), size: 50, after: None }
    }

    /// How many records pass a filter tree; none counts every record.
    pub fn count(&self, filter: Option<&Value>) -> Result<u64, Error> {
        Ok(wit::count(&self.name, filter.map(Value::to_string).as_deref())?)
    }
}

/// A query of one collection.
#[derive(Clone, Debug)]
pub struct Query<'a, T> {
    collection: &'a Collection<T>,
    filters: Vec<Value>,
    sort: Vec<String>,
    size: u32,
    after: Option<String>,
}

impl<T: Serialize + DeserializeOwned> Query<'_, T> {
    /// Only records whose field compares so with the value: `eq`, `ne`, `gt`, `gte`, `lt`,
    /// `lte`, `in`, `nin`, `like`, `ilike`, `null`. All conditions must hold.
    pub fn filter(mut self, field: &str, op: &str, value: impl Into<Value>) -> Self {
        self.filters.push(json!({ "field": field, "op": op, "value": value.into() }));
        self
    }

    /// Only records that pass this filter tree.
    pub fn tree(mut self, tree: Value) -> Self {
        self.filters.push(tree);
        self
    }

    /// Sort by this field, largest first with a `-` before it. The newest come first
    /// unless said otherwise.
    pub fn sort(mut self, key: &str) -> Self {
        self.sort.push(key.to_owned());
        self
    }

    /// Rows of a page, 1 to 200.
    pub fn size(mut self, size: u32) -> Self {
        self.size = size;
        self
    }

    /// Begin after the page that ended with this.
    pub fn after(mut self, next: Option<String>) -> Self {
        self.after = next;
        self
    }

    /// Ask for the page.
    pub fn page(self) -> Result<Page<T>, Error> {
        let filter = (!self.filters.is_empty()).then(|| json!({ "and": self.filters }).to_string());
        let options = wit::QueryOptions { filter, sort: self.sort, size: self.size, after: self.after };
        let page = wit::query(&self.collection.name, &options)?;
        Ok(Page { rows: page.rows.into_iter().map(typed).collect::<Result<_, _>>()?, next: page.next })
    }
}

fn text(data: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(data).map_err(|e| Error::shape(&e))
}

fn typed<T: DeserializeOwned>(row: wit::Row) -> Result<Record<T>, Error> {
    Ok(Record {
        data: serde_json::from_str(&row.data).map_err(|e| Error::unreadable(&format!("record {}", row.id), &e))?,
        id: row.id,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        read: row.data,
    })
}

/// Lock a key in the plugin's own name space, 1 to 200 bytes. Of the invocations and requests that
/// lock the same key one commits at a time, and those that began before are run again: what queries
/// return after this call holds at the commit, with respect to every writer that locks the key.
/// Nobody waits here. In a check of a write the lock is the writer's.
pub fn lock(key: &str) -> Result<(), Error> {
    Ok(wit::lock(key)?)
}
