//! The caller, as handlers take it. Only the guard puts one there, so a handler that
//! takes it cannot be reached without.

use axum::{extract::FromRequestParts, http::request::Parts};
use purlin_domain::{audit::Origin, principal::Principal};
use purlin_service::ServiceError;

use crate::problem::Problem;

/// Who calls.
pub(crate) struct Caller(pub(crate) Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal
            .map(Self)
            .ok_or_else(|| ServiceError::internal("an operation that needs nobody asked for its caller").into())
    }
}

/// Where a request comes from, for operations that need nobody.
pub(crate) struct CalledFrom(pub(crate) Origin);

impl<S: Sync> FromRequestParts<S> for CalledFrom {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(parts.extensions.get::<Origin>().cloned().unwrap_or_default()))
    }
}
