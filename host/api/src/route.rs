//! Every operation of the API, in one table: what it is, where, what it needs, what it
//! takes and gives. The router, the documentation and the coverage test are made from it.

mod api_keys;
pub(crate) mod apps;
mod audit_logs;
mod auth;
mod docs;
mod events;
mod health;
mod installations;
mod invitations;
mod jobs;
mod plugins;
mod roles;
mod schedules;
mod tenants;
mod users;
mod webhooks;

use axum::http::{Method, StatusCode};
use purlin_domain::{event::Event, record::Record};
use purlin_service::{
    access::{Explanation, Question},
    api_keys::{MadeApiKey, NewApiKey},
    audit::Verification,
    auth::{
        ChangePassword, CodeOnly, EmailOnly, Enrolment, Login, PasswordOnly, Proof, RecoveryCodes, RefreshOnly,
        Registration, ResetPassword, SignedIn as SignInView, TokenOnly,
    },
    events::{EventTypeView, NewEventRequest, Published, Replay, ReplayMany},
    installations::{ConfirmPurge, Consent, InstallationView, NewSecret, Purge, RollbackPreview},
    invitations::{AcceptInvitation, NewInvitation},
    jobs::{EnqueuedJobs, JobBatch, JobRequest, JobStatus, NewPause, Retried, RetryMany, Why},
    plugins::{PluginWithVersions, VersionView},
    publishers::PublisherKey,
    roles::{ChangeRole, NewRoleRequest, PermissionRef, RoleView},
    schedules::ChangeSchedule,
    store::{
        self,
        api_keys::ApiKey,
        audit::AuditRow,
        invitations::Invitation,
        job_pauses::JobPause,
        jobs::{Job, JobSummary},
        permissions::CataloguePermission,
        plugin_files::Stored as StoredFile,
        plugin_logs::PluginLog,
        plugin_usage::{HourOfUse, Invocation},
        plugins::Plugin,
        publishers::Publisher,
        roles::Role,
        schedules::Schedule,
        sessions::Session,
        tenants::Tenant,
        users::User,
        webhooks::Webhook,
    },
    tenants::{ApproveDomain, ChangePlan, ChangeTenant, Usage},
    tokens::Tokens,
    users::{ChangeMe, ChangeUser, Enqueued, NewUser, UserView},
    webhooks::{ChangeWebhook, NewWebhook, WebhookWithSecret},
};
use schemars::JsonSchema;
use serde_json::Value;

use crate::operation::{
    Needs::{Collection, Files, Nothing, Operator, Permission, PluginRoute, SignedIn},
    Operation,
};

/// A whole list, without pages.
#[derive(JsonSchema)]
#[schemars(rename = "AllOf{T}")]
#[expect(dead_code, reason = "describes an answer")]
struct Whole<T> {
    /// The rows.
    data: Vec<T>,
}

/// The table.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn operations() -> Vec<Operation> {
    let get = |path, needs, summary| Row(Method::GET, path, needs, summary);
    let post = |path, needs, summary| Row(Method::POST, path, needs, summary);
    let patch = |path, needs, summary| Row(Method::PATCH, path, needs, summary);
    let put = |path, needs, summary| Row(Method::PUT, path, needs, summary);
    let delete = |path, needs, summary| Row(Method::DELETE, path, needs, summary);
    vec![
        get("/health", Nothing, "Whether the host can serve: its database and its bus").by(health::health).gives::<Value>(),
        get("/health/live", Nothing, "Whether the process answers").by(health::live).gives::<Value>(),
        get("/health/ready", Nothing, "Whether the host can serve").by(health::health).gives::<Value>(),
        get("/.well-known/jwks.json", Nothing, "The public keys that verify access tokens (RFC 7517)").by(auth::jwks).gives::<Value>(),
        get("/openapi.json", Nothing, "This document").by(docs::document).gives::<Value>(),
        get("/api/v1/tenants/me/openapi.json", SignedIn, "The document of the caller's tenant, with what its plugins offer").by(docs::of_tenant).gives::<Value>(),
        get("/docs", Nothing, "This document, to browse").by(docs::page).hidden(),
        get("/docs/", Nothing, "This document, to browse").by(docs::index).hidden(),
        get("/docs/{*file}", Nothing, "What the pages are made of").by(docs::asset).hidden(),

        post("/api/v1/auth/register", Nothing, "Register a tenant with its first administrator").by(auth::register).takes::<Registration>().gives::<SignInView>().answers(StatusCode::CREATED),
        post("/api/v1/auth/login", Nothing, "Sign in").by(auth::login).takes::<Login>().gives::<SignInView>(),
        post("/api/v1/auth/refresh", Nothing, "Exchange a refresh token for the next pair of tokens").by(auth::refresh).takes::<RefreshOnly>().gives::<Tokens>(),
        post("/api/v1/auth/logout", SignedIn, "End the session of this token").by(auth::logout),
        get("/api/v1/auth/sessions", SignedIn, "One's own open sessions").by(auth::sessions).lists::<Session>(store::sessions::fields),
        delete("/api/v1/auth/sessions/{id}", SignedIn, "End one of one's own sessions").by(auth::revoke_session),
        post("/api/v1/auth/email/verify", Nothing, "Prove an address with what a mail carried").by(auth::verify_email).takes::<TokenOnly>(),
        post("/api/v1/auth/email/resend", SignedIn, "Send the mail that proves one's address again").by(auth::resend_verification),
        post("/api/v1/auth/password/forgot", Nothing, "Send a mail that gives leave to set a new password, if the address is known").by(auth::forgot_password).takes::<EmailOnly>(),
        post("/api/v1/auth/password/reset", Nothing, "Set a new password with what a mail carried").by(auth::reset_password).takes::<ResetPassword>(),
        post("/api/v1/auth/password/change", SignedIn, "Set a new password for the old one").by(auth::change_password).takes::<ChangePassword>(),
        post("/api/v1/auth/totp", SignedIn, "Begin to enrol a second factor").by(auth::enrol_totp).takes::<PasswordOnly>().gives::<Enrolment>().answers(StatusCode::CREATED),
        post("/api/v1/auth/totp/confirm", SignedIn, "Confirm the second factor by a code").by(auth::confirm_totp).takes::<CodeOnly>().gives::<RecoveryCodes>(),
        post("/api/v1/auth/totp/disable", SignedIn, "Do without a second factor").by(auth::disable_totp).takes::<Proof>().answers(StatusCode::NO_CONTENT),
        post("/api/v1/auth/reauthenticate", SignedIn, "Give the password again: for five minutes this session may change what takes the account over").by(auth::reauthenticate).takes::<Proof>().answers(StatusCode::NO_CONTENT),

        get("/api/v1/api-keys", Permission("api-keys", "read"), "The tenant's API keys").by(api_keys::list).lists::<ApiKey>(store::api_keys::fields),
        post("/api/v1/api-keys/search", Permission("api-keys", "read"), "Search API keys").by(api_keys::search).searches::<ApiKey>(),
        post("/api/v1/api-keys", Permission("api-keys", "create"), "Make an API key for oneself; it is shown once").by(api_keys::create).takes::<NewApiKey>().gives::<MadeApiKey>().answers(StatusCode::CREATED),
        get("/api/v1/api-keys/{id}", Permission("api-keys", "read"), "An API key, without the key itself").by(api_keys::get).gives::<ApiKey>(),
        delete("/api/v1/api-keys/{id}", Permission("api-keys", "delete"), "Take an API key away").by(api_keys::delete),

        get("/api/v1/tenants/me", Permission("tenants", "read"), "The caller's tenant").by(tenants::me).gives::<Tenant>(),
        patch("/api/v1/tenants/me", Permission("tenants", "update"), "Change the caller's tenant").by(tenants::change_me).takes::<ChangeTenant>().gives::<Tenant>().conditional(),
        get("/api/v1/tenants/me/usage", Permission("tenants", "read"), "What the tenant uses of its plan").by(tenants::usage).gives::<Usage>(),
        get("/api/v1/tenants/settings-schema", SignedIn, "The JSON Schema of a tenant's settings").by(tenants::settings_schema).gives::<Value>(),
        get("/api/v1/tenants", Operator, "All tenants").by(tenants::list).lists::<Tenant>(store::tenants::fields),
        post("/api/v1/tenants/search", Operator, "Search all tenants").by(tenants::search).searches::<Tenant>(),
        get("/api/v1/tenants/{id}", Operator, "A tenant").by(tenants::get).gives::<Tenant>(),
        patch("/api/v1/tenants/{id}", Operator, "Put a tenant on another plan").by(tenants::change_plan).takes::<ChangePlan>().gives::<Tenant>().conditional().without_room(),
        post("/api/v1/tenants/{id}/approve-domain", Operator, "Let people sign in to a tenant by the host name that it claims").by(tenants::approve_domain).takes::<ApproveDomain>().gives::<Tenant>(),
        post("/api/v1/tenants/{id}/suspend", Operator, "Suspend a tenant: everything of it stops, its data stays").by(tenants::suspend).gives::<Tenant>().without_room(),
        post("/api/v1/tenants/{id}/activate", Operator, "Serve a suspended tenant again").by(tenants::activate).gives::<Tenant>(),

        get("/api/v1/users/me", SignedIn, "The caller").by(users::me).gives::<UserView>(),
        patch("/api/v1/users/me", SignedIn, "Change one's own names").by(users::change_me).takes::<ChangeMe>().gives::<UserView>().conditional(),
        get("/api/v1/users", Permission("users", "read"), "The people of the tenant").by(users::list).lists::<User>(store::users::fields),
        post("/api/v1/users/search", Permission("users", "read"), "Search people").by(users::search).searches::<User>(),
        post("/api/v1/users", Permission("users", "create"), "Add somebody").by(users::create).takes::<NewUser>().gives::<UserView>().answers(StatusCode::CREATED),
        get("/api/v1/users/{id}", Permission("users", "read"), "Somebody, with roles").by(users::get).gives::<UserView>(),
        patch("/api/v1/users/{id}", Permission("users", "update"), "Change somebody").by(users::change).takes::<ChangeUser>().gives::<UserView>().conditional().with_margin(),
        delete("/api/v1/users/{id}", Permission("users", "delete"), "Delete somebody; what is personal stays until it is erased").by(users::delete).conditional(),
        post("/api/v1/users/{id}/erase", Permission("users", "delete"), "Erase what is personal of somebody who was deleted, by a job").by(users::erase).gives::<Enqueued>().answers(StatusCode::ACCEPTED).without_room(),
        delete("/api/v1/users/{id}/totp", Permission("users", "update"), "Take the second factor from somebody who lost it").by(users::disable_totp),
        put("/api/v1/users/{id}/roles/{role_id}", Permission("users", "update"), "Give somebody a role").by(users::assign).gives::<UserView>(),
        delete("/api/v1/users/{id}/roles/{role_id}", Permission("users", "update"), "Take a role from somebody").by(users::unassign),

        get("/api/v1/invitations", Permission("invitations", "read"), "Invitations").by(invitations::list).lists::<Invitation>(store::invitations::fields),
        post("/api/v1/invitations/search", Permission("invitations", "read"), "Search invitations").by(invitations::search).searches::<Invitation>(),
        post("/api/v1/invitations", Permission("invitations", "create"), "Invite somebody by mail").by(invitations::create).takes::<NewInvitation>().gives::<Invitation>().answers(StatusCode::CREATED),
        post("/api/v1/invitations/accept", Nothing, "Accept an invitation with what its mail carried").by(invitations::accept).takes::<AcceptInvitation>().gives::<SignInView>().answers(StatusCode::CREATED),
        get("/api/v1/invitations/{id}", Permission("invitations", "read"), "An invitation").by(invitations::get).gives::<Invitation>(),
        post("/api/v1/invitations/{id}/resend", Permission("invitations", "update"), "Send an invitation again, with a new token").by(invitations::resend).gives::<Invitation>(),
        delete("/api/v1/invitations/{id}", Permission("invitations", "delete"), "Take an invitation back").by(invitations::revoke),

        get("/api/v1/roles", Permission("roles", "read"), "Roles").by(roles::list).lists::<Role>(store::roles::fields),
        post("/api/v1/roles/search", Permission("roles", "read"), "Search roles").by(roles::search).searches::<Role>(),
        post("/api/v1/roles", Permission("roles", "create"), "Make a role").by(roles::create).takes::<NewRoleRequest>().gives::<RoleView>().answers(StatusCode::CREATED),
        get("/api/v1/roles/{id}", Permission("roles", "read"), "A role, with what it permits").by(roles::get).gives::<RoleView>(),
        patch("/api/v1/roles/{id}", Permission("roles", "update"), "Change a role's name or description").by(roles::change).takes::<ChangeRole>().gives::<RoleView>().conditional(),
        delete("/api/v1/roles/{id}", Permission("roles", "delete"), "Delete a role; its users lose it").by(roles::delete).conditional(),
        get("/api/v1/roles/{id}/permissions", Permission("roles", "read"), "What a role permits").by(roles::permissions).gives::<Whole<CataloguePermission>>(),
        post("/api/v1/roles/{id}/permissions", Permission("roles", "update"), "Add a permission to a role").by(roles::permit).takes::<PermissionRef>().gives::<CataloguePermission>().answers(StatusCode::CREATED),
        delete("/api/v1/roles/{id}/permissions/{permission_id}", Permission("roles", "update"), "Take a permission from a role").by(roles::forbid),
        get("/api/v1/permissions", Permission("roles", "read"), "The catalogue of permissions: the platform's, and those of plugins").by(roles::catalogue).lists::<CataloguePermission>(store::permissions::fields),
        post("/api/v1/access/explain", SignedIn, "Whether somebody may do something, and why").by(roles::explain).takes::<Question>().gives::<Explanation>(),

        get("/api/v1/audit-logs", Permission("audit", "read"), "The audit log; of the last 90 days unless the query says how far to go back").by(audit_logs::list).lists::<AuditRow>(store::audit::fields),
        post("/api/v1/audit-logs/search", Permission("audit", "read"), "Search the audit log").by(audit_logs::search).searches::<AuditRow>(),
        get("/api/v1/audit-logs/verify", Permission("audit", "read"), "Verify that nothing in the audit log was changed, deleted or reordered").by(audit_logs::verify).gives::<Verification>(),
        get("/api/v1/audit-logs/export", Permission("audit", "read"), "The audit log, one JSON object a line; takes the filters of the list").by(audit_logs::export).gives_other(audit_logs::NDJSON),
        get("/api/v1/audit-logs/{id}", Permission("audit", "read"), "A row of the audit log").by(audit_logs::get).gives::<AuditRow>(),

        get("/api/v1/events", Permission("events", "read"), "Published events").by(events::list).lists::<Event>(store::events::fields),
        post("/api/v1/events/search", Permission("events", "read"), "Search events").by(events::search).searches::<Event>(),
        post("/api/v1/events", Permission("events", "create"), "Publish an event that an enabled plugin declares").by(events::publish).takes::<NewEventRequest>().gives::<Published>().answers(StatusCode::CREATED),
        get("/api/v1/events/stream", Permission("events", "read"), "Events as they are committed, as server-sent events; `type` takes a pattern, `Last-Event-ID` says where to go on").by(events::stream).gives_other(events::EVENT_STREAM),
        post("/api/v1/events/replay", Permission("events", "create"), "Deliver events of a time once more, to one subscriber, by a job").by(events::replay_many).takes::<ReplayMany>().gives::<Enqueued>().answers(StatusCode::ACCEPTED),
        post("/api/v1/events/{id}/replay", Permission("events", "create"), "Deliver an event once more, to one subscriber").by(events::replay).takes::<Replay>().gives::<Enqueued>().answers(StatusCode::ACCEPTED),
        get("/api/v1/event-types", Permission("events", "read"), "The types of events: the platform's, and those of enabled plugins").by(events::types).gives::<Whole<EventTypeView>>(),
        get("/api/v1/event-types/{type}/{version}", Permission("events", "read"), "A type of event in one version, with the JSON Schema of its data: what `dataschema` of an event leads to").by(events::event_type).gives::<EventTypeView>(),
        get("/api/v1/events/{id}", Permission("events", "read"), "An event").by(events::get).gives::<Event>(),

        get("/api/v1/jobs", Permission("jobs", "read"), "Jobs, deliveries of events included").by(jobs::list).lists::<JobSummary>(store::jobs::fields),
        post("/api/v1/jobs/search", Permission("jobs", "read"), "Search jobs").by(jobs::search).searches::<JobSummary>(),
        post("/api/v1/jobs", Permission("jobs", "create"), "Enqueue a job of an enabled plugin").by(jobs::enqueue).takes::<JobRequest>().gives::<Job>().answers(StatusCode::ACCEPTED),
        get("/api/v1/jobs/{id}", Permission("jobs", "read"), "A job").by(jobs::get).gives::<Job>(),
        post("/api/v1/jobs/batch", Permission("jobs", "create"), "Enqueue many jobs together: all of them, or none").by(jobs::enqueue_many).takes::<JobBatch>().gives::<EnqueuedJobs>().answers(StatusCode::ACCEPTED),
        post("/api/v1/jobs/retry", Permission("jobs", "update"), "Run dead letters again, the oldest 1,000 that match").by(jobs::retry_many).takes::<RetryMany>().gives::<Retried>(),
        post("/api/v1/jobs/{id}/cancel", Permission("jobs", "update"), "Take a job back; one that runs is stopped").by(jobs::cancel).gives::<Job>().with_margin(),
        post("/api/v1/jobs/{id}/retry", Permission("jobs", "update"), "Run a dead letter again, with all its attempts before it").by(jobs::retry).gives::<Job>(),
        delete("/api/v1/jobs/{id}", Permission("jobs", "update"), "Throw a dead letter away").by(jobs::discard),
        get("/api/v1/jobs/{id}/why", Permission("jobs", "read"), "Why a job does not run, in a line").by(jobs::why).gives::<Why>(),
        get("/api/v1/jobs/{id}/file", Permission("jobs", "read"), "The file that a `generate_report` job made, for whoever may read what is in it").by(jobs::file).gives_other("text/csv"),
        get("/api/v1/job-pauses", Permission("jobs", "read"), "What is paused in the tenant").by(jobs::paused).gives::<Whole<JobPause>>(),
        post("/api/v1/job-pauses", Permission("jobs", "update"), "Pause the jobs of a queue, of a kind, or all: those that run end, no other begins").by(jobs::pause).takes::<NewPause>().gives::<JobPause>().answers(StatusCode::CREATED).with_margin(),
        delete("/api/v1/job-pauses/{queue}/{kind}", Permission("jobs", "update"), "Let them run again; `*` stands for every queue or kind").by(jobs::resume),
        get("/api/v1/schedules", Permission("schedules", "read"), "Schedules: jobs that are enqueued again and again").by(schedules::list).lists::<Schedule>(store::schedules::fields),
        post("/api/v1/schedules/search", Permission("schedules", "read"), "Search schedules").by(schedules::search).searches::<Schedule>(),
        get("/api/v1/schedules/{id}", Permission("schedules", "read"), "A schedule").by(schedules::get).gives::<Schedule>(),
        patch("/api/v1/schedules/{id}", Permission("schedules", "update"), "Pause a schedule, or let it go on").by(schedules::change).takes::<ChangeSchedule>().gives::<Schedule>().conditional().with_margin(),
        post("/api/v1/schedules/{id}/run", Permission("schedules", "update"), "Enqueue its job now").by(schedules::run).gives::<Enqueued>().answers(StatusCode::ACCEPTED),
        get("/api/v1/jobs/{id}/status", Permission("jobs", "read"), "How a job is doing").by(jobs::status).gives::<JobStatus>(),

        get("/api/v1/webhooks", Permission("webhooks", "read"), "Webhooks: where events are sent to").by(webhooks::list).lists::<Webhook>(store::webhooks::fields),
        post("/api/v1/webhooks/search", Permission("webhooks", "read"), "Search webhooks").by(webhooks::search).searches::<Webhook>(),
        post("/api/v1/webhooks", Permission("webhooks", "create"), "Make a webhook; its secret is shown once").by(webhooks::create).takes::<NewWebhook>().gives::<WebhookWithSecret>().answers(StatusCode::CREATED),
        get("/api/v1/webhooks/{id}", Permission("webhooks", "read"), "A webhook").by(webhooks::get).gives::<Webhook>(),
        patch("/api/v1/webhooks/{id}", Permission("webhooks", "update"), "Change a webhook, disable or enable it").by(webhooks::change).takes::<ChangeWebhook>().gives::<Webhook>().conditional().with_margin(),
        delete("/api/v1/webhooks/{id}", Permission("webhooks", "delete"), "Remove a webhook").by(webhooks::delete).conditional(),
        post("/api/v1/webhooks/{id}/rotate-secret", Permission("webhooks", "update"), "Sign with a new secret, and for a day with the old one too").by(webhooks::rotate_secret).gives::<WebhookWithSecret>().with_margin(),
        get("/api/v1/webhooks/{id}/deliveries", Permission("webhooks", "read"), "What was sent to a webhook, and what is to be").by(webhooks::deliveries).lists::<JobSummary>(store::jobs::fields),
        post("/api/v1/webhooks/{id}/test", Permission("webhooks", "update"), "Send a test event to a webhook").by(webhooks::test).gives::<Enqueued>().answers(StatusCode::ACCEPTED),

        get("/api/v1/plugins", Permission("plugins", "read"), "The plugins on offer").by(plugins::list).gives::<Whole<Plugin>>(),
        post("/api/v1/plugins", Operator, "Upload a component; 200 for one that is there already").by(plugins::upload).takes_wasm().gives::<VersionView>().answers(StatusCode::CREATED).within(plugins::UPLOAD_TIMEOUT),
        get("/api/v1/plugins/{name}", Permission("plugins", "read"), "A plugin and its versions").by(plugins::get).gives::<PluginWithVersions>(),
        get("/api/v1/plugins/{name}/publisher", Permission("plugins", "read"), "Who publishes a plugin").by(plugins::publisher).gives::<Publisher>(),
        put("/api/v1/plugins/{name}/publisher", Operator, "Register who publishes a plugin: their key signs what is uploaded from then on").by(plugins::set_publisher).takes::<PublisherKey>().gives::<Publisher>(),
        delete("/api/v1/plugins/{name}/publisher", Operator, "Forget who publishes a plugin").by(plugins::delete_publisher),
        get("/api/v1/plugins/{name}/versions/{version}", Permission("plugins", "read"), "One version of a plugin").by(plugins::version).gives::<VersionView>(),

        get("/api/v1/installations", Permission("installations", "read"), "The tenant's plugins").by(installations::list).gives::<Whole<InstallationView>>(),
        post("/api/v1/installations", Permission("installations", "create"), "Enable a plugin, or change its version or grants").by(installations::enable).takes::<Consent>().gives::<InstallationView>().answers(StatusCode::CREATED),
        get("/api/v1/installations/{plugin}", Permission("installations", "read"), "The tenant's installation of a plugin").by(installations::get).gives::<InstallationView>(),
        put("/api/v1/installations/{plugin}/settings", Permission("installations", "update"), "Set a plugin's settings, in the place of all that were set").by(installations::configure).takes::<Value>().gives::<InstallationView>(),
        put("/api/v1/installations/{plugin}/secrets/{name}", Permission("installations", "update"), "Set a secret that a plugin reads; nobody is shown it again").by(installations::set_secret).takes::<NewSecret>(),
        delete("/api/v1/installations/{plugin}/secrets/{name}", Permission("installations", "update"), "Forget a secret").by(installations::delete_secret),
        get("/api/v1/installations/{plugin}/rollback", Permission("installations", "read"), "What a rollback would mean for the records").by(installations::roll_back_preview).gives::<RollbackPreview>(),
        post("/api/v1/installations/{plugin}/rollback", Permission("installations", "create"), "Run the version before again, with what was granted to it").by(installations::roll_back).gives::<InstallationView>().with_margin(),
        post("/api/v1/installations/{plugin}/resume", Permission("installations", "create"), "Let a plugin run again that the host paused").by(installations::resume).gives::<InstallationView>(),
        post("/api/v1/installations/{plugin}/uninstall", Permission("installations", "delete"), "Uninstall a plugin; its data stays").by(installations::uninstall).without_room(),
        get("/api/v1/installations/{plugin}/purge", Permission("installations", "delete"), "What a purge would erase").by(installations::purge_preview).gives::<Purge>(),
        post("/api/v1/installations/{plugin}/purge", Permission("installations", "delete"), "Erase all data of a plugin that does not run").by(installations::purge).takes::<ConfirmPurge>().gives::<Enqueued>().answers(StatusCode::ACCEPTED).without_room(),
        get("/api/v1/installations/{plugin}/usage", Permission("installations", "read"), "What a plugin used in the last 31 days, by the hour").by(installations::usage).gives::<Whole<HourOfUse>>(),
        get("/api/v1/installations/{plugin}/invocations", Permission("installations", "read"), "The latest invocations of a plugin").by(installations::invocations).lists::<Invocation>(store::plugin_usage::fields),
        get("/api/v1/installations/{plugin}/files", Files, "The files that a plugin keeps").by(installations::files).lists::<StoredFile>(store::plugin_files::fields),
        get("/api/v1/installations/{plugin}/files/{*key}", Files, "A file that a plugin keeps").by(installations::file).gives_other(apps::ANYTHING),
        delete("/api/v1/installations/{plugin}", Permission("installations", "delete"), "Disable a plugin; its data stays").by(installations::disable),
        get("/api/v1/installations/{plugin}/logs", Permission("installations", "read"), "A plugin's log").by(installations::logs).lists::<PluginLog>(store::plugin_logs::fields),

        get("/api/v1/apps/{plugin}/-/{*path}", PluginRoute, "A route of a plugin, as its descriptor declares it").by(apps::route).gives_other(apps::ANYTHING),
        post("/api/v1/apps/{plugin}/-/{*path}", PluginRoute, "A route of a plugin, as its descriptor declares it").by(apps::route).takes_anything().gives_other(apps::ANYTHING),
        put("/api/v1/apps/{plugin}/-/{*path}", PluginRoute, "A route of a plugin, as its descriptor declares it").by(apps::route).takes_anything().gives_other(apps::ANYTHING),
        patch("/api/v1/apps/{plugin}/-/{*path}", PluginRoute, "A route of a plugin, as its descriptor declares it").by(apps::route).takes_anything().gives_other(apps::ANYTHING),
        delete("/api/v1/apps/{plugin}/-/{*path}", PluginRoute, "A route of a plugin, as its descriptor declares it").by(apps::route).answers(StatusCode::OK).gives_other(apps::ANYTHING),
        get("/api/v1/apps/{plugin}/{collection}", Collection("read"), "Records of a collection; filtered and sorted by what the plugin declares").by(apps::list).lists::<Record>(records_fields),
        post("/api/v1/apps/{plugin}/{collection}/search", Collection("read"), "Search a collection").by(apps::search).searches::<Record>(),
        post("/api/v1/apps/{plugin}/{collection}", Collection("create"), "Create a record; the body is its data").by(apps::create).takes::<Value>().gives::<Record>().answers(StatusCode::CREATED),
        get("/api/v1/apps/{plugin}/{collection}/{id}", Collection("read"), "A record").by(apps::get).gives::<Record>(),
        patch("/api/v1/apps/{plugin}/{collection}/{id}", Collection("update"), "Change a record by a JSON Merge Patch (RFC 7396) of its data").by(apps::patch).takes::<Value>().gives::<Record>().conditional(),
        post("/api/v1/apps/{plugin}/{collection}/{id}/erase", Collection("delete"), "Erase what is personal of a record, and of the events about it").by(apps::erase).gives::<Record>().answers(StatusCode::OK),
        delete("/api/v1/apps/{plugin}/{collection}/{id}", Collection("delete"), "Delete a record").by(apps::delete).conditional(),
    ]
}

/// The fields that every collection has.
fn records_fields() -> Vec<purlin_domain::filter::Field> {
    use purlin_domain::{descriptor::BASE_FIELDS, filter::Field};
    BASE_FIELDS.iter().map(|(name, field_type)| Field::column(name, *field_type)).collect()
}

/// The beginning of a line of the table.
struct Row(Method, &'static str, crate::Needs, &'static str);

impl Row {
    /// Who handles it.
    fn by<H, T>(self, handler: H) -> Operation
    where
        H: axum::handler::Handler<T, crate::App>,
        T: 'static,
    {
        let Self(method, path, needs, summary) = self;
        Operation::new(method, path, needs, summary, handler)
    }
}
