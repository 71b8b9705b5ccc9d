//! `/roles`, `/permissions` and `/access`.

use axum::extract::State;
use purlin_domain::id::RoleId;
use purlin_service::{
    access::{self, Question},
    roles::{self, ChangeRole, NewRoleRequest, PermissionRef},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched, Unchanged},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(roles::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(roles::list(&app, &caller, &query).await?)
}

pub(crate) async fn create(State(app): State<App>, Caller(caller): Caller, Body(new): Body<NewRoleRequest>) -> Answer {
    Reply::created(roles::create(&app, &caller, new).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<RoleId>) -> Answer {
    Reply::ok(roles::get(&app, &caller, id).await?)
}

pub(crate) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<RoleId>,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeRole>,
) -> Answer {
    Reply::ok(roles::change(&app, &caller, id, change, expected).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<RoleId>,
    Unchanged(expected): Unchanged,
) -> Answer {
    roles::delete(&app, &caller, id, expected).await?;
    Reply::none()
}

pub(crate) async fn permissions(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<RoleId>) -> Answer {
    Reply::ok(json!({ "data": roles::permissions_of(&app, &caller, id).await? }))
}

pub(crate) async fn permit(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<RoleId>,
    Body(wanted): Body<PermissionRef>,
) -> Answer {
    Reply::created(roles::permit(&app, &caller, id, &wanted).await?)
}

pub(crate) async fn forbid(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((id, permission)): InPath<(RoleId, Uuid)>,
) -> Answer {
    roles::forbid(&app, &caller, id, permission).await?;
    Reply::none()
}

pub(crate) async fn catalogue(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(roles::catalogue(&app, &caller, &query).await?)
}

pub(crate) async fn explain(State(app): State<App>, Caller(caller): Caller, Body(question): Body<Question>) -> Answer {
    Reply::ok(access::explain(&app, &caller, &question).await?)
}
