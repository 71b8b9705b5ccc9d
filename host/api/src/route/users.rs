//! `/users`.

use axum::{
    extract::State,
    http::header::LOCATION,
    response::{IntoResponse, Response},
};
use purlin_domain::id::{RoleId, UserId};
use purlin_service::users::{self, ChangeMe, ChangeUser, NewUser};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched, Unchanged},
    problem::Problem,
    reply::{Answer, Reply},
};

pub(crate) async fn me(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(users::me(&app, &caller).await?)
}

pub(crate) async fn change_me(
    State(app): State<App>,
    Caller(caller): Caller,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeMe>,
) -> Answer {
    Reply::ok(users::change_me(&app, &caller, change, expected).await?)
}

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(users::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(users::list(&app, &caller, &query).await?)
}

pub(crate) async fn create(State(app): State<App>, Caller(caller): Caller, Body(new): Body<NewUser>) -> Answer {
    Reply::created(users::create(&app, &caller, new).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<UserId>) -> Answer {
    Reply::ok(users::get(&app, &caller, id).await?)
}

pub(crate) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<UserId>,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeUser>,
) -> Answer {
    Reply::ok(users::change(&app, &caller, id, change, expected).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<UserId>,
    Unchanged(expected): Unchanged,
) -> Answer {
    users::delete(&app, &caller, id, expected).await?;
    Reply::none()
}

pub(crate) async fn erase(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<UserId>,
) -> Result<Response, Problem> {
    let enqueued = users::erase(&app, &caller, id).await?;
    let location = format!("/api/v1/jobs/{}", enqueued.id);
    Ok(([(LOCATION, location)], Reply::accepted(enqueued)?).into_response())
}

pub(crate) async fn disable_totp(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<UserId>) -> Answer {
    users::disable_second_factor(&app, &caller, id).await?;
    Reply::none()
}

pub(crate) async fn assign(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((id, role)): InPath<(UserId, RoleId)>,
) -> Answer {
    Reply::ok(users::assign(&app, &caller, id, role).await?)
}

pub(crate) async fn unassign(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((id, role)): InPath<(UserId, RoleId)>,
) -> Answer {
    users::unassign(&app, &caller, id, role).await?;
    Reply::none()
}
