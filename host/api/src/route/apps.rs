//! `/apps/{plugin}/{collection}`: the collections of enabled plugins.

use axum::{
    Json,
    extract::State,
    http::{
        StatusCode,
        header::{ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
};
use purlin_domain::{
    id::RecordId,
    record::{CollectionRef, Record},
};
use purlin_service::{list::ListPage, records};
use serde_json::Value;

use crate::{
    App,
    caller::Caller,
    extract::{Body, IfMatch, InPath, InQuery, etag},
    problem::Problem,
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
) -> Result<Json<ListPage<Record>>, Problem> {
    Ok(Json(records::list(&app, &caller, &collection(plugin, name), &query).await?))
}

pub(crate) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    Body(data): Body<Value>,
) -> Result<Response, Problem> {
    let of = collection(plugin, name);
    let record = records::create(&app, &caller, &of, data).await?;
    let location = format!("/api/v1/apps/{}/{}/{}", of.plugin, of.collection, record.id);
    Ok((StatusCode::CREATED, [(ETAG, etag(record.version)), (LOCATION, location)], Json(record)).into_response())
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
) -> Result<Response, Problem> {
    let record = records::get(&app, &caller, &collection(plugin, name), id).await?;
    Ok(([(ETAG, etag(record.version))], Json(record)).into_response())
}

/// The body is a JSON Merge Patch of the record's data.
pub(crate) async fn patch(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    let record = records::patch(&app, &caller, &collection(plugin, name), id, patch, expected).await?;
    Ok(([(ETAG, etag(record.version))], Json(record)).into_response())
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
) -> Result<StatusCode, Problem> {
    records::delete(&app, &caller, &collection(plugin, name), id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}
