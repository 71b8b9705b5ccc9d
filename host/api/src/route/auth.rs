//! `/auth` and the public keys.

use axum::extract::State;
use purlin_domain::id::SessionId;
use purlin_service::auth::{
    self, ChangePassword, CodeOnly, EmailOnly, Login, PasswordOnly, Proof, RefreshOnly, Registration, ResetPassword,
    TokenOnly,
};

use crate::{
    App,
    caller::{CalledFrom, Caller},
    extract::{Body, HostName, InPath, InQuery},
    reply::{Answer, Reply},
};

pub(crate) async fn register(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(registration): Body<Registration>,
) -> Answer {
    Reply::created(auth::register(&app, registration, &origin).await?)
}

pub(crate) async fn login(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    HostName(host): HostName,
    Body(login): Body<Login>,
) -> Answer {
    Reply::ok(auth::login(&app, login, host.as_deref(), &origin).await?)
}

pub(crate) async fn refresh(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(request): Body<RefreshOnly>,
) -> Answer {
    Reply::ok(auth::refresh(&app, &request.refresh_token, &origin).await?)
}

pub(crate) async fn logout(State(app): State<App>, Caller(caller): Caller) -> Answer {
    auth::logout(&app, &caller).await?;
    Reply::none()
}

pub(crate) async fn sessions(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(auth::list_sessions(&app, &caller, &query).await?)
}

pub(crate) async fn revoke_session(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<SessionId>,
) -> Answer {
    auth::revoke_session(&app, &caller, id).await?;
    Reply::none()
}

pub(crate) async fn verify_email(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(request): Body<TokenOnly>,
) -> Answer {
    auth::verify_email(&app, &request.token, &origin).await?;
    Reply::none()
}

pub(crate) async fn resend_verification(State(app): State<App>, Caller(caller): Caller) -> Answer {
    auth::resend_verification(&app, &caller).await?;
    Reply::none()
}

pub(crate) async fn forgot_password(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    HostName(host): HostName,
    Body(request): Body<EmailOnly>,
) -> Answer {
    auth::forgot_password(&app, &request, host.as_deref(), &origin).await?;
    Reply::none()
}

pub(crate) async fn reset_password(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(request): Body<ResetPassword>,
) -> Answer {
    auth::reset_password(&app, request, &origin).await?;
    Reply::none()
}

pub(crate) async fn change_password(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(request): Body<ChangePassword>,
) -> Answer {
    auth::change_password(&app, &caller, request).await?;
    Reply::none()
}

pub(crate) async fn reauthenticate(State(app): State<App>, Caller(caller): Caller, Body(proof): Body<Proof>) -> Answer {
    auth::reauthenticate(&app, &caller, proof).await?;
    Reply::none()
}

pub(crate) async fn enrol_totp(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(request): Body<PasswordOnly>,
) -> Answer {
    Reply::created(auth::enrol(&app, &caller, request).await?)
}

pub(crate) async fn confirm_totp(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(request): Body<CodeOnly>,
) -> Answer {
    Reply::ok(auth::confirm(&app, &caller, &request).await?)
}

pub(crate) async fn disable_totp(State(app): State<App>, Caller(caller): Caller, Body(request): Body<Proof>) -> Answer {
    auth::disable(&app, &caller, request).await?;
    Reply::none()
}

pub(crate) async fn jwks(State(app): State<App>) -> Answer {
    Reply::ok(app.jwks())
}
