//! The HTTP face: routes that mirror the URLs, authority by table and extractor,
//! problems instead of errors. Knows neither SQL nor Wasm.
#![forbid(unsafe_code)]

mod caller;
mod extract;
mod guard;
mod operation;
mod problem;
mod request;
mod route;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use purlin_domain::limits::BODY_BYTES_MAX;
use purlin_service::Platform;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

pub use operation::{Needs, Operation};
pub use route::operations;

/// What every route shares.
pub type App = Arc<Platform>;

/// Wall-clock time of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

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
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(request::with_id))
        .with_state(app)
}
