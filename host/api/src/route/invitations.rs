//! `/invitations`.

use axum::extract::State;
use purlin_domain::id::InvitationId;
use purlin_service::invitations::{self, AcceptInvitation, NewInvitation};

use crate::{
    App,
    caller::{CalledFrom, Caller},
    extract::{Body, InPath, InQuery, Searched},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(invitations::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(invitations::list(&app, &caller, &query).await?)
}

pub(crate) async fn create(State(app): State<App>, Caller(caller): Caller, Body(new): Body<NewInvitation>) -> Answer {
    Reply::created(invitations::create(&app, &caller, new).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<InvitationId>) -> Answer {
    Reply::ok(invitations::get(&app, &caller, id).await?)
}

pub(crate) async fn resend(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<InvitationId>) -> Answer {
    Reply::ok(invitations::resend(&app, &caller, id).await?)
}

pub(crate) async fn revoke(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<InvitationId>) -> Answer {
    invitations::revoke(&app, &caller, id).await?;
    Reply::none()
}

pub(crate) async fn accept(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(request): Body<AcceptInvitation>,
) -> Answer {
    Reply::created(invitations::accept(&app, request, &origin).await?)
}
