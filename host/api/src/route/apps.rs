//! `/apps/{plugin}/{collection}`: the collections of enabled plugins.

use axum::extract::State;
use purlin_domain::{id::RecordId, record::CollectionRef};
use purlin_service::records;
use serde_json::Value;

use crate::{
    App,
    caller::Caller,
    extract::{Body, IfMatch, InPath, InQuery, Searched},
    reply::{Answer, Reply},
};

type OfCollection = InPath<(String, String)>;
type OfRecord = InPath<(String, String, RecordId)>;

fn collection(plugin: String, collection: String) -> CollectionRef {
    CollectionRef { plugin, collection }
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(records::list(&app, &caller, &collection(plugin, name), &query).await?)
}

pub(crate) async fn search(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    Searched(query): Searched,
) -> Answer {
    Reply::ok(records::list(&app, &caller, &collection(plugin, name), &query).await?)
}

pub(crate) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    Body(data): Body<Value>,
) -> Answer {
    Reply::created(records::create(&app, &caller, &collection(plugin, name), data).await?)
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
) -> Answer {
    Reply::ok(records::get(&app, &caller, &collection(plugin, name), id).await?)
}

/// The body is a JSON Merge Patch of the record's data.
pub(crate) async fn patch(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
    Body(patch): Body<Value>,
) -> Answer {
    Reply::ok(records::patch(&app, &caller, &collection(plugin, name), id, patch, expected).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
) -> Answer {
    records::delete(&app, &caller, &collection(plugin, name), id, expected).await?;
    Reply::none()
}
