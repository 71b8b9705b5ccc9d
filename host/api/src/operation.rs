//! An operation: a method, a path, what it needs, who handles it.

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
    pub(crate) handler: MethodRouter<App>,
}

impl Operation {
    pub(crate) fn new<H, T>(method: Method, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // A method that axum cannot route is a route that answers nothing: the coverage test finds it.
        let handler =
            MethodFilter::try_from(method.clone()).map_or_else(|_| MethodRouter::new(), |filter| on(filter, handler));
        Self { method, path, needs, handler }
    }
}
