//! `/auth` and the public keys.

use axum::{Json, extract::State, http::StatusCode};
use purlin_service::auth::{self, Login, Registration, SignedIn};
use serde_json::Value;

use crate::{App, caller::CalledFrom, extract::Body, problem::Problem};

pub(crate) async fn register(
    State(app): State<App>,
    CalledFrom(origin): CalledFrom,
    Body(registration): Body<Registration>,
) -> Result<(StatusCode, Json<SignedIn>), Problem> {
    let signed_in = auth::register(&app, registration, &origin).await?;
    Ok((StatusCode::CREATED, Json(signed_in)))
}

pub(crate) async fn login(State(app): State<App>, Body(login): Body<Login>) -> Result<Json<SignedIn>, Problem> {
    Ok(Json(auth::login(&app, login).await?))
}

pub(crate) async fn jwks(State(app): State<App>) -> Json<Value> {
    Json(app.jwks())
}
