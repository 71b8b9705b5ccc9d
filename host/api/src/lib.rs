//! The HTTP face: routes that mirror the URLs, authority by table and extractor,
//! problems instead of errors. Knows neither SQL nor Wasm.
#![forbid(unsafe_code)]

mod caller;
mod download;
mod extract;
mod guard;
mod linger;
mod openapi;
mod operation;
mod problem;
mod reply;
mod request;
mod route;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, header},
    middleware::from_fn_with_state,
};
use ipnet::IpNet;
use purlin_domain::limits::BODY_BYTES_MAX;
use purlin_service::{Platform, store::shares::Shares};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};

pub use operation::{Needs, Operation};
pub use route::operations;

/// What every route shares.
pub type App = Arc<Platform>;

/// How the host meets the network.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Origins whose pages may call the API; `*` for all.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests at the same time; more are answered 503 at once.
    pub requests_at_once: usize,
}

/// Every route, guarded as the table of operations says.
pub fn router(app: App, edge: &Edge) -> Router {
    let mut router = Router::new();
    // A quarter of the room is kept for whoever comes beside the busiest tenant.
    let of_tenant = (edge.requests_at_once - edge.requests_at_once / 4).max(1);
    let shares = Shares::limited(edge.requests_at_once, of_tenant, 0, 0);
    for operation in operations() {
        router = router.route(operation.path, guard::guarded(&app, &shares, operation));
    }
    let room = request::Room::new(edge.requests_at_once);
    let door = request::Door { app: Arc::clone(&app), proxies: edge.trusted_proxies.clone().into() };
    router
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(room, request::admit))
        .layer(from_fn_with_state(door, request::with_id))
        .layer(CompressionLayer::new())
        .layer(cors(&edge.cors_origins))
        .with_state(app)
}

/// The OpenAPI document.
pub fn openapi() -> serde_json::Value {
    openapi::document()
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // The routes of plugins have headers of their own. None of them is sent by a browser by itself.
        .allow_headers(AllowHeaders::mirror_request())
        // Nor do answers carry anything that a page of an allowed origin may not read; those that do not
        // know `*` know these names.
        .expose_headers([
            HeaderName::from_static("*"),
            header::CONTENT_DISPOSITION,
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("accept-patch"),
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("ratelimit-limit"),
            HeaderName::from_static("ratelimit-remaining"),
            HeaderName::from_static("ratelimit-reset"),
        ])
        .max_age(std::time::Duration::from_secs(600));
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AllowOrigin::any());
    }
    layer.allow_origin(AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())))
}
