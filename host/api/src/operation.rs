//! An operation: a method, a path, what it needs, who handles it.

use std::time::Duration;

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};

use crate::App;

/// What a caller needs for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is open to everybody.
    Nothing,
    /// To be signed in; it concerns only the caller.
    SignedIn,
    /// This permission: resource and action.
    Permission(&'static str, &'static str),
    /// This action on the collection that the path names.
    Collection(&'static str),
    /// To run the platform.
    Operator,
}

/// An operation of the API.
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The path, parameters in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub needs: Needs,
    /// Wall-clock time of one request.
    pub(crate) timeout: Duration,
    pub(crate) handler: MethodRouter<App>,
}

/// Wall-clock time of a request, unless the operation says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Operation {
    pub(crate) fn new<H, T>(method: Method, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // A method that axum cannot route is a route that answers nothing: the coverage test finds it.
        let handler =
            MethodFilter::try_from(method.clone()).map_or_else(|_| MethodRouter::new(), |filter| on(filter, handler));
        Self { method, path, needs, timeout: TIMEOUT, handler }
    }

    /// It may take this long.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}
