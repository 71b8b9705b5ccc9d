//! `/tenants`.

use axum::{Json, extract::State};
use purlin_service::{
    store::tenants::Tenant,
    tenants::{self, ChangeTenant},
};

use crate::{App, caller::Caller, extract::Body, problem::Problem};

pub(crate) async fn me(State(app): State<App>, Caller(caller): Caller) -> Result<Json<Tenant>, Problem> {
    Ok(Json(tenants::me(&app, &caller).await?))
}

pub(crate) async fn change_me(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(change): Body<ChangeTenant>,
) -> Result<Json<Tenant>, Problem> {
    Ok(Json(tenants::change_me(&app, &caller, change).await?))
}
