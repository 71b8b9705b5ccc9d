//! An operation: a method, a path, what it needs, who handles it, and what the
//! documentation says of it.

use std::time::Duration;

use axum::{
    handler::Handler,
    http::{Method, StatusCode},
    routing::{MethodFilter, MethodRouter, on},
};
use purlin_domain::filter::Field;
use purlin_service::{
    list::{ListPage, Search},
    storage::Room,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

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
    /// To read the files of the plugin that the path names.
    Files,
    /// What the route that the path names says.
    PluginRoute,
    /// To run the platform.
    Operator,
}

/// How a type is described.
pub(crate) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// What a request's body is.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    /// None.
    Nothing,
    /// JSON of this type.
    Json(Describe),
    /// A component.
    Wasm,
    /// Whatever a plugin takes.
    Anything,
}

/// What an answer is.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// An empty body.
    Nothing,
    /// JSON of this type.
    Json(Describe),
    /// A page of rows, filtered and sorted by these fields.
    Page(Describe, fn() -> Vec<Field>),
    /// Something else, of this media type.
    Other(&'static str),
}

/// An operation of the API.
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The path, parameters in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub needs: Needs,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What it answers when it did what was asked.
    pub status: StatusCode,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    /// Whether it takes `If-Match`.
    pub(crate) is_conditional: bool,
    /// Whether the document leaves it out.
    pub(crate) is_hidden: bool,
    /// How much room there must be below the tenant's ceiling.
    pub(crate) room: Room,
    /// Wall-clock time of one request.
    pub(crate) timeout: Duration,
    pub(crate) handler: MethodRouter<App>,
}

/// Wall-clock time of a request, unless the operation says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Operation {
    pub(crate) fn new<H, T>(method: Method, path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // A method that axum cannot route is a route that answers nothing: the coverage test finds it.
        let handler =
            MethodFilter::try_from(method.clone()).map_or_else(|_| MethodRouter::new(), |filter| on(filter, handler));
        let status = if method == Method::DELETE { StatusCode::NO_CONTENT } else { StatusCode::OK };
        Self {
            method,
            path,
            needs,
            summary,
            status,
            takes: Takes::Nothing,
            gives: Gives::Nothing,
            is_conditional: false,
            is_hidden: false,
            room: Room::Below,
            timeout: TIMEOUT,
            handler,
        }
    }

    /// Its body is JSON of this type.
    pub(crate) fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Json(|generator| generator.subschema_for::<T>()), ..self }
    }

    /// Its body is a component.
    pub(crate) fn takes_wasm(self) -> Self {
        Self { takes: Takes::Wasm, ..self }
    }

    /// Its body is whatever a plugin takes.
    pub(crate) fn takes_anything(self) -> Self {
        Self { takes: Takes::Anything, ..self }
    }

    /// It answers JSON of this type.
    pub(crate) fn gives<T: JsonSchema>(self) -> Self {
        Self { gives: Gives::Json(|generator| generator.subschema_for::<T>()), ..self }
    }

    /// It answers a page of a list.
    pub(crate) fn lists<T: JsonSchema>(self, fields: fn() -> Vec<Field>) -> Self {
        Self { gives: Gives::Page(|generator| generator.subschema_for::<ListPage<T>>(), fields), ..self }
    }

    /// It takes something away, or keeps somebody out: a tenant at its ceiling can do it, up to a margin.
    pub(crate) fn with_margin(self) -> Self {
        Self { room: Room::WithMargin, ..self }
    }

    /// A tenant at its ceiling can do it, or what it does is asked later whether there is room for it.
    pub(crate) fn without_room(self) -> Self {
        Self { room: Room::None, ..self }
    }

    /// How much room there must be to do it.
    pub(crate) fn needs_room(&self) -> Room {
        let is_free = !self.is_mutation()
            || self.method == Method::DELETE
            || self.path.starts_with("/api/v1/auth/")
            || matches!(self.needs, Needs::PluginRoute | Needs::Collection(_));
        if is_free { Room::None } else { self.room }
    }

    /// It takes a search, and answers a page of a list.
    pub(crate) fn searches<T: JsonSchema>(self) -> Self {
        self.takes::<Search>().gives::<ListPage<T>>()
    }

    /// It answers something else than JSON.
    pub(crate) fn gives_other(self, media_type: &'static str) -> Self {
        Self { gives: Gives::Other(media_type), ..self }
    }

    /// It answers this when it did what was asked.
    pub(crate) fn answers(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// It takes `If-Match`.
    pub(crate) fn conditional(self) -> Self {
        Self { is_conditional: true, ..self }
    }

    /// The document leaves it out.
    pub(crate) fn hidden(self) -> Self {
        Self { is_hidden: true, ..self }
    }

    /// It may take this long.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether it changes something for a caller, so that it takes an `Idempotency-Key`. A
    /// search changes nothing; an upload is known by its bytes.
    pub(crate) fn is_mutation(&self) -> bool {
        self.method != Method::GET
            && self.needs != Needs::Nothing
            && !matches!(self.takes, Takes::Wasm)
            && !self.path.ends_with("/search")
            && !self.path.ends_with("/explain")
    }
}
