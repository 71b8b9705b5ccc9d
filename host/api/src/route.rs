//! Every operation of the API, in one table: what it is, where, and what it needs. The
//! router, the documentation and the coverage test are made from it.

mod apps;
mod audit_logs;
mod auth;
mod events;
mod health;
mod installations;
mod jobs;
mod plugins;
mod tenants;
mod users;

use axum::http::Method;

use crate::operation::{
    Needs::{Collection, Nothing, Operator, Permission, SignedIn},
    Operation,
};

/// The table.
#[rustfmt::skip]
pub fn operations() -> Vec<Operation> {
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    vec![
        Operation::new(get.clone(), "/health", Nothing, health::health),
        Operation::new(get.clone(), "/health/live", Nothing, health::live),
        Operation::new(get.clone(), "/health/ready", Nothing, health::health),
        Operation::new(get.clone(), "/.well-known/jwks.json", Nothing, auth::jwks),

        Operation::new(post.clone(), "/api/v1/auth/register", Nothing, auth::register),
        Operation::new(post.clone(), "/api/v1/auth/login", Nothing, auth::login),

        Operation::new(get.clone(), "/api/v1/tenants/me", Permission("tenants", "read"), tenants::me),
        Operation::new(patch.clone(), "/api/v1/tenants/me", Permission("tenants", "update"), tenants::change_me),

        Operation::new(get.clone(), "/api/v1/users/me", SignedIn, users::me),
        Operation::new(patch.clone(), "/api/v1/users/me", SignedIn, users::change_me),

        Operation::new(get.clone(), "/api/v1/audit-logs", Permission("audit", "read"), audit_logs::list),
        Operation::new(get.clone(), "/api/v1/audit-logs/{id}", Permission("audit", "read"), audit_logs::get),

        Operation::new(get.clone(), "/api/v1/events", Permission("events", "read"), events::list),
        Operation::new(get.clone(), "/api/v1/events/{id}", Permission("events", "read"), events::get),

        Operation::new(get.clone(), "/api/v1/jobs", Permission("jobs", "read"), jobs::list),
        Operation::new(post.clone(), "/api/v1/jobs", Permission("jobs", "create"), jobs::enqueue),
        Operation::new(get.clone(), "/api/v1/jobs/{id}", Permission("jobs", "read"), jobs::get),
        Operation::new(get.clone(), "/api/v1/jobs/{id}/status", Permission("jobs", "read"), jobs::status),

        Operation::new(get.clone(), "/api/v1/plugins", Permission("plugins", "read"), plugins::list),
        Operation::new(post.clone(), "/api/v1/plugins", Operator, plugins::upload).within(plugins::UPLOAD_TIMEOUT),
        Operation::new(get.clone(), "/api/v1/plugins/{name}", Permission("plugins", "read"), plugins::get),
        Operation::new(get.clone(), "/api/v1/plugins/{name}/versions/{version}", Permission("plugins", "read"), plugins::version),

        Operation::new(get.clone(), "/api/v1/installations", Permission("installations", "read"), installations::list),
        Operation::new(post.clone(), "/api/v1/installations", Permission("installations", "create"), installations::enable),
        Operation::new(get.clone(), "/api/v1/installations/{plugin}", Permission("installations", "read"), installations::get),
        Operation::new(delete.clone(), "/api/v1/installations/{plugin}", Permission("installations", "delete"), installations::disable),
        Operation::new(get.clone(), "/api/v1/installations/{plugin}/logs", Permission("installations", "read"), installations::logs),

        Operation::new(get.clone(), "/api/v1/apps/{plugin}/{collection}", Collection("read"), apps::list),
        Operation::new(post, "/api/v1/apps/{plugin}/{collection}", Collection("create"), apps::create),
        Operation::new(get, "/api/v1/apps/{plugin}/{collection}/{id}", Collection("read"), apps::get),
        Operation::new(patch, "/api/v1/apps/{plugin}/{collection}/{id}", Collection("update"), apps::patch),
        Operation::new(delete, "/api/v1/apps/{plugin}/{collection}/{id}", Collection("delete"), apps::delete),
    ]
}
