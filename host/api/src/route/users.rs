//! `/users`.

use axum::{Json, extract::State};
use purlin_service::users::{self, ChangeMe, Me};

use crate::{App, caller::Caller, extract::Body, problem::Problem};

pub(crate) async fn me(State(app): State<App>, Caller(caller): Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(users::me(&app, &caller).await?))
}

pub(crate) async fn change_me(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(change): Body<ChangeMe>,
) -> Result<Json<Me>, Problem> {
    Ok(Json(users::change_me(&app, &caller, change).await?))
}
