//! The caller, as handlers take it. Only the guard puts one there, so a handler that
//! takes it cannot be reached without.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};
use purlin_domain::{access::Permission, audit::Origin, principal::Principal};
use purlin_service::{Platform, ServiceError, access};

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

/// What a long answer asks again and again: whether its caller still may have it. It ends with the
/// token, the permission, the user or the tenant.
#[derive(Clone)]
pub(crate) struct Standing {
    token: String,
    needs: Permission,
}

impl Standing {
    /// That of a request that was let in.
    pub(crate) fn of(headers: &HeaderMap, needs: Permission) -> Self {
        let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = text.split_once(' ').map_or("", |(_, token)| token.trim()).to_owned();
        Self { token, needs }
    }

    /// Refuse where the caller no longer may.
    pub(crate) async fn check(&self, platform: &Platform) -> Result<(), ServiceError> {
        let principal = access::authenticate(platform, &self.token, Origin::default()).await?;
        access::require(&principal, &self.needs)
    }
}
