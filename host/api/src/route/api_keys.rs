//! `/api-keys`.

use axum::extract::State;
use purlin_domain::id::ApiKeyId;
use purlin_service::api_keys::{self, NewApiKey};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(api_keys::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(api_keys::list(&app, &caller, &query).await?)
}

pub(crate) async fn create(State(app): State<App>, Caller(caller): Caller, Body(new): Body<NewApiKey>) -> Answer {
    Reply::created(api_keys::create(&app, &caller, new).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<ApiKeyId>) -> Answer {
    Reply::ok(api_keys::get(&app, &caller, id).await?)
}

pub(crate) async fn delete(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<ApiKeyId>) -> Answer {
    api_keys::delete(&app, &caller, id).await?;
    Reply::none()
}
