//! `/tenants`.

use axum::extract::State;
use purlin_domain::id::TenantId;
use purlin_service::tenants::{self, ApproveDomain, ChangePlan, ChangeTenant};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched, Unchanged},
    reply::{Answer, Reply},
};

pub(crate) async fn me(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(tenants::me(&app, &caller).await?)
}

pub(crate) async fn change_me(
    State(app): State<App>,
    Caller(caller): Caller,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeTenant>,
) -> Answer {
    Reply::ok(tenants::change_me(&app, &caller, change, expected).await?)
}

pub(crate) async fn usage(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(tenants::usage_of_me(&app, &caller).await?)
}

pub(crate) async fn settings_schema() -> Answer {
    Reply::ok(tenants::settings_schema())
}

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(tenants::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(tenants::list(&app, &caller, &query).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<TenantId>) -> Answer {
    Reply::ok(tenants::get(&app, &caller, id).await?)
}

pub(crate) async fn approve_domain(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<TenantId>,
    Body(claim): Body<ApproveDomain>,
) -> Answer {
    Reply::ok(tenants::approve_domain(&app, &caller, id, &claim).await?)
}

pub(crate) async fn change_plan(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<TenantId>,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangePlan>,
) -> Answer {
    Reply::ok(tenants::change_plan(&app, &caller, id, &change, expected).await?)
}

pub(crate) async fn suspend(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<TenantId>) -> Answer {
    Reply::ok(tenants::suspend(&app, &caller, id).await?)
}

pub(crate) async fn activate(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<TenantId>) -> Answer {
    Reply::ok(tenants::activate(&app, &caller, id).await?)
}
