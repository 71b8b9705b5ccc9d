//! The HTTP face: routes that mirror the URLs, authority by table and extractor,
//! problems instead of errors. Knows neither SQL nor Wasm.
#![forbid(unsafe_code)]

mod caller;
mod extract;
mod guard;
mod linger;
mod operation;
mod problem;
mod request;
mod route;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use purlin_domain::limits::BODY_BYTES_MAX;
use purlin_service::Platform;
use tower_http::catch_panic::CatchPanicLayer;

pub use operation::{Needs, Operation};
pub use route::operations;

/// What every route shares.
pub type App = Arc<Platform>;

/// Every route, guarded as the table of operations says.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for operation in operations() {
        router = router.route(operation.path, guard::guarded(&app, operation));
    }
    router
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(request::with_id))
        .with_state(app)
}
