//! The isolation tests can fail: every statement that forgets its tenant is noticed.
//!
//! One tenant asks the store for everything of another's, by id, by name and in lists; what
//! it is answered, and what of the other's data is left, is written down. Then each
//! statement in turn forgets its tenant, and what is written down must differ. This is the
//! first wall alone: the embedded database has no second.

use std::fmt::{Debug, Write};

use purlin_domain::{
    Timestamp,
    filter::Filter,
    id::{ApiKeyId, InvitationId, JobId, RecordId, RoleId, SessionId, TenantId, UserId, VersionId},
    mark::{Lookup, Marks},
    record::CollectionRef,
};
use purlin_store::{
    Config, Db, Slice, TenantTx, api_keys, audit, audit_chain, events, idempotency, installations, invitations,
    job_pauses, jobs, mutants, one_time_tokens, plugin_data, plugin_files, plugin_logs, plugin_secrets, plugin_usage,
    record_locks, record_marks, record_references, records, roles, schedules, sealed, second_factors, sessions,
    standing, tenants, usage, users, webhooks,
};
use serde_json::json;
use sqlx::{ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use crate::support::{Database, Host, furnish};

/// What another tenant has, by name.
struct Theirs {
    user: UserId,
    role: RoleId,
    admin: RoleId,
    session: SessionId,
    key: ApiKeyId,
    invitation: InvitationId,
    job: JobId,
    event: Uuid,
    audit: Uuid,
    item: RecordId,
    movement: RecordId,
    permission: Uuid,
    job_root: Uuid,
    dead: JobId,
    webhook: Uuid,
    schedule: Uuid,
    version: VersionId,
    token: (Uuid, String, String),
    code: String,
    hash: String,
    now: Timestamp,
}

async fn theirs(conn: &mut SqliteConnection, tenant: TenantId) -> Theirs {
    let one = async |conn: &mut SqliteConnection, sql: &'static str| -> Uuid {
        sqlx::query_scalar(sql).bind(tenant.0).fetch_one(conn).await.unwrap()
    };
    let token = sqlx::query("SELECT id, purpose, secret_hash FROM one_time_tokens WHERE tenant_id = $1 LIMIT 1")
        .bind(tenant.0)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    Theirs {
        user: UserId(one(conn, "SELECT id FROM users WHERE tenant_id = $1").await),
        role: RoleId(one(conn, "SELECT id FROM roles WHERE tenant_id = $1 AND name = 'mutant'").await),
        admin: RoleId(one(conn, "SELECT id FROM roles WHERE tenant_id = $1 AND name = 'admin'").await),
        session: SessionId(one(conn, "SELECT id FROM sessions WHERE tenant_id = $1").await),
        key: ApiKeyId(one(conn, "SELECT id FROM api_keys WHERE tenant_id = $1").await),
        invitation: InvitationId(one(conn, "SELECT id FROM invitations WHERE tenant_id = $1").await),
        job: JobId(one(conn, "SELECT id FROM jobs WHERE tenant_id = $1 AND state = 'ready'").await),
        event: one(conn, "SELECT id FROM events WHERE tenant_id = $1").await,
        audit: one(conn, "SELECT id FROM audit_log WHERE tenant_id = $1").await,
        movement: RecordId(
            one(conn, "SELECT id FROM records WHERE tenant_id = $1 AND collection = 'movements'").await,
        ),
        item: RecordId(one(conn, "SELECT id FROM records WHERE tenant_id = $1 AND collection = 'items'").await),
        permission: one(conn, "SELECT permission_id FROM role_permissions rp JOIN roles r ON r.id = rp.role_id WHERE r.tenant_id = $1 AND r.name = 'mutant'").await,
        job_root: one(conn, "SELECT root_id FROM jobs WHERE tenant_id = $1").await,
        dead: JobId(one(conn, "SELECT id FROM jobs WHERE tenant_id = $1 AND state = 'dead'").await),
        webhook: one(conn, "SELECT id FROM webhooks WHERE tenant_id = $1").await,
        schedule: one(conn, "SELECT id FROM schedules WHERE tenant_id = $1").await,
        version: VersionId(one(conn, "SELECT version_id FROM installations WHERE tenant_id = $1").await),
        token: (token.get(0), token.get(1), token.get(2)),
        code: sqlx::query_scalar("SELECT code_hash FROM recovery_codes WHERE tenant_id = $1").bind(tenant.0).fetch_one(&mut *conn).await.unwrap(),
        hash: sqlx::query_scalar("SELECT password_hash FROM users WHERE tenant_id = $1 AND password_hash <> ''")
            .bind(tenant.0)
            .fetch_one(&mut *conn)
            .await
            .unwrap(),
        now: "2026-06-01T00:00:00Z".parse().unwrap(),
    }
}

/// Ask for everything of theirs, and try to change it, as whoever this transaction belongs to.
#[expect(clippy::too_many_lines, reason = "one line a question")]
async fn ask(tx: &mut TenantTx, t: &Theirs, theirs: &str, told: &mut String) {
    fn tell<T: Debug, E: Debug>(told: &mut String, what: &str, answer: Result<T, E>) {
        writeln!(told, "{what}: {answer:?}").unwrap();
    }
    macro_rules! ask {
        ($($call:expr;)*) => {$( tell(told, stringify!($call), $call.await); )*};
    }
    let items = CollectionRef { plugin: "inventory".to_owned(), collection: "items".to_owned() };
    let of = |id: Uuid| sealed::Sealed { id, sealed: vec![1] };
    let movements = CollectionRef { plugin: "inventory".to_owned(), collection: "movements".to_owned() };
    let everything = Filter::everything();
    let all = Slice::first(&everything, &[], 200);
    let marked = Lookup { property: "quantity".to_owned(), marks: Marks::Between("n".to_owned(), "o".to_owned()) };
    let (email, guest) = (format!("admin@{theirs}.example"), format!("guest@{theirs}.example"));
    let (secret, file) = (format!("key-of-{theirs}"), format!("of-{theirs}"));
    let sealed_secret = sealed::SealedSecret { plugin: "inventory".to_owned(), name: secret.clone(), sealed: vec![1] };
    let answered = idempotency::Answered { request_hash: "x".to_owned(), response: vec![1] };
    let actor = format!("user:{}", t.user);
    let far: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
    let long_ago: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    ask! {
        tenants::own(tx);
        tenants::hold(tx);
        users::by_id(tx, t.user);
        users::hold(tx, t.user);
        users::by_email(tx, &email);
        users::is_deleted(tx, UserId(t.event));
        users::list(tx, &all);
        roles::by_id(tx, t.role);
        roles::hold(tx, t.role);
        roles::id_by_name(tx, "mutant");
        roles::list(tx, &all);
        roles::permissions_of(tx, t.role);
        roles::of_user(tx, t.user);
        roles::names_of_user(tx, t.user);
        roles::other_admins(tx, UserId(Uuid::nil()));
        sessions::hold(tx, t.session);
        sessions::list(tx, t.user, &all);
        api_keys::by_id(tx, t.key);
        api_keys::count_of_user(tx, t.user);
        api_keys::list(tx, &all);
        second_factors::of_user(tx, t.user);
        invitations::by_id(tx, t.invitation);
        invitations::list(tx, &all);
        idempotency::find(tx, &actor, "furnish-1", long_ago);
        audit::by_id(tx, t.audit);
        audit::list(tx, &all);
        audit_chain::head(tx);
        audit_chain::checkpoints(tx, 0, 100);
        audit_chain::last_cut(tx);
        audit_chain::links(tx, 0, 100);
        audit_chain::count_unchained(tx);
        audit_chain::count_outside(tx, 1);
        events::by_id(tx, t.event.into());
        events::list(tx, &all);
        installations::list(tx);
        installations::by_plugin(tx, "inventory");
        installations::consent(tx, "inventory");
        installations::hold(tx, "inventory");
        jobs::by_id(tx, t.job);
        jobs::last_of_kind(tx, "inventory", "mutant");
        jobs::list(tx, &all);
        jobs::chain_size(tx, t.job_root);
        jobs::unfinished_with_key(tx, "mutant", "theirs");
        jobs::queued(tx, 1_000);
        jobs::head_of_lane(tx, "inventory/lane");
        jobs::ahead(tx, purlin_domain::job::Queue::Default, 9, far, t.job);
        jobs::list_of_webhook(tx, t.webhook, &all);
        events::read_on(tx, events::Place::default(), long_ago, 100);
        events::between(tx, long_ago, far, None, 100);
        job_pauses::list(tx);
        schedules::of_plugin(tx, "inventory");
        schedules::by_id(tx, t.schedule);
        schedules::list(tx, &all);
        webhooks::by_id(tx, t.webhook);
        webhooks::count(tx);
        webhooks::enabled(tx);
        webhooks::target(tx, t.webhook);
        webhooks::list(tx, &all);
        sealed::second_factors(tx);
        sealed::webhooks(tx);
        sealed::old_webhooks(tx);
        sealed::plugin_secrets(tx);
        records::by_id(tx, &items, t.item);
        records::exists(tx, &items, t.item);
        records::hold_version(tx, &items, t.item);
        records::list(tx, &items, &all);
        records::list(tx, &movements, &Slice { lookup: Some(&marked), ..all });
        records::count(tx, &items, &everything, None);
        records::after(tx, &items, None, 100, true);
        installations::indexed(tx, "inventory");
        installations::hold_consent(tx, "inventory");
        installations::restore_settings(tx, "inventory");
        records::holder_of_key(tx, &items, "mutant", "theirs");
        record_references::to(tx, &items, t.item, 100);
        plugin_logs::list(tx, "inventory", &all);
        plugin_secrets::list(tx, "inventory");
        plugin_secrets::sealed(tx, "inventory", &secret);
        plugin_files::by_key(tx, "inventory", &file);
        plugin_files::hold(tx, "inventory", &file);
        plugin_files::list(tx, "inventory", "", "", 100);
        plugin_files::page(tx, "inventory", &all);
        plugin_files::size(tx, "inventory");
        plugin_files::bytes(tx);
        plugin_usage::of_plugin(tx, "inventory", long_ago);
        plugin_usage::cpu_us(tx, long_ago);
        plugin_usage::page(tx, "inventory", &all);
        plugin_data::records(tx, "inventory");
        plugin_data::jobs(tx, "inventory");
        plugin_data::waiting_jobs(tx, "inventory", 100);
        standing::of_user(tx, t.user);
        standing::of_session(tx, t.user, t.session, long_ago);
        usage::users(tx);
        usage::plugins(tx);
        usage::storage_bytes(tx);
        usage::stored(tx);
        usage::state_bytes(tx);
        roles::admins(tx, 10);
        record_locks::version(tx, "inventory", &file);
        events::subjects_about(tx, ["inventory.items.created"; 3], "sku", "a-1", 10);
    }
    let user = users::User {
        id: t.user,
        email: "taken@over.example".to_owned(),
        password_hash: String::new(),
        first_name: None,
        last_name: None,
        is_active: false,
        is_verified: true,
        is_operator: false,
        last_login_at: None,
        created_at: t.now,
        updated_at: t.now,
    };
    let role = roles::Role {
        id: t.role,
        name: "taken".to_owned(),
        description: String::new(),
        is_system: false,
        created_at: t.now,
        updated_at: t.now,
    };
    let invitation = invitations::Invitation {
        id: t.invitation,
        email: guest.clone(),
        role_ids: json!([]),
        status: "revoked".to_owned(),
        secret_hash: "x".to_owned(),
        invited_by: None,
        sent_count: 9,
        expires_at: t.now,
        created_at: t.now,
        updated_at: t.now,
    };
    let webhook = webhooks::Webhook {
        id: t.webhook,
        url: "https://taken.example/".to_owned(),
        description: String::new(),
        event_types: json!([]),
        is_enabled: false,
        disabled_reason: None,
        failing_since: None,
        old_secret_until: None,
        created_at: t.now,
        updated_at: far,
        created_by: None,
        responsible_id: None,
        orphaned_at: None,
    };
    let running = jobs::Fence { job: JobId(t.event), run_lease: 7, worker: t.event };
    let ended = jobs::Ended { fence: running, place: "", lane: None, result: None, progress: None };
    let tenant = tenants::Tenant {
        id: tx.tenant(),
        name: "taken".to_owned(),
        slug: String::new(),
        domain: None,
        domain_approved_at: None,
        status: purlin_domain::tenant::TenantStatus::Suspended,
        plan: "x".to_owned(),
        settings: json!({}),
        provisioned_at: None,
        created_at: t.now,
        updated_at: t.now,
    };
    let (token, purpose, hash) = &t.token;
    ask! {
        tenants::update(tx, &tenant, t.now);
        users::update(tx, &user, t.now, None);
        users::touch(tx, t.user, t.now, None);
        users::rehash(tx, t.user, &t.hash, "other");
        users::set_password_hash(tx, t.user, "mine", t.now);
        users::set_last_login(tx, t.user, t.now);
        roles::update(tx, &role, t.now, None);
        roles::forbid(tx, t.role, t.permission);
        roles::unassign(tx, t.user, t.admin);
        sessions::rotate(tx, t.session, 99, t.now, far);
        sessions::revoke(tx, t.session, t.user, t.now);
        api_keys::set_last_used(tx, t.key, t.now);
        one_time_tokens::take(tx, *token, purpose, hash, long_ago);
        sealed::set_second_factor(tx, &of(t.event), vec![9]);
        sealed::set_webhook(tx, &of(t.webhook), vec![9]);
        sealed::set_old_webhook(tx, &of(t.webhook), vec![9]);
        sealed::set_plugin_secret(tx, &sealed_secret, vec![9]);
        second_factors::use_step(tx, t.user, 99_999_999);
        second_factors::use_recovery_code(tx, t.user, &t.code);
        invitations::update(tx, &invitation, t.now);
        events::erase_subject(tx, "mutant", &json!({ "erased": true }));
        installations::configure(tx, "inventory", &json!({ "a": 1 }), t.now, None);
        installations::pause(tx, "inventory", t.version, "x", t.now);
        installations::resume(tx, "inventory", t.now, None);
        installations::roll_back(tx, "inventory", t.version, None, t.now, None);
        installations::disable(tx, "inventory", t.now, None);
        jobs::finish(tx, running, None, &jobs::Outcome::Succeeded { result: None, progress: None }, t.now);
        jobs::finish_all(tx, &[ended, ended], t.now);
        jobs::finish(tx, running, None, &jobs::Outcome::Dead { error: "x".to_owned() }, t.now);
        jobs::finish(tx, running, None, &jobs::Outcome::Retry { run_at: t.now, error: "x".to_owned() }, t.now);
        jobs::finish(tx, running, None, &jobs::Outcome::Released { run_at: t.now }, t.now);
        jobs::tell_progress(tx, running, 5, None, t.now);
        jobs::request_cancel(tx, running.job, t.now);
        jobs::cancel(tx, t.job, None, t.now);
        jobs::retry(tx, t.dead, t.now);
        jobs::retry_many(tx, &jobs::Selection::default(), 10, t.now);
        schedules::set_paused(tx, t.schedule, true, None, t.now, t.now);
        schedules::advance(tx, t.schedule, t.now, Some(far), None);
        webhooks::update(tx, &webhook, t.now);
        webhooks::rotate(tx, t.webhook, (vec![1], vec![1]), far, t.now, t.now);
        webhooks::note_failing(tx, t.webhook, Some(t.now));
        records::update(tx, &items, t.item, 1, &json!({}), t.now, None);
        records::update(tx, &items, t.item, 2, &json!({}), t.now, None);
        records::delete_keys(tx, &items, t.item);
        record_marks::delete_of_properties(tx, &movements, t.movement, &["quantity".to_owned()]);
        record_marks::delete_of(tx, &movements, &[t.movement]);
        record_marks::keep_only(tx, "inventory", &[], 100);
        installations::set_indexed(tx, "inventory", &[]);
        record_references::delete_of(tx, &movements, t.movement);
        record_references::keep_only(tx, "inventory", &[]);
        record_references::erase(tx, "inventory", 100);
    }
    ask! {
        jobs::discard(tx, t.dead, t.now);
        plugin_secrets::delete(tx, "inventory", &secret);
        plugin_secrets::delete_all(tx, "inventory");
        plugin_files::delete(tx, "inventory", &file);
        plugin_files::delete_all(tx, "inventory");
        schedules::delete_all(tx, "inventory");
        plugin_data::erase_records(tx, "inventory", 100);
        plugin_data::erase_rest(tx, "inventory");
        installations::delete(tx, "inventory");
        job_pauses::delete(tx, "*", "never.runs");
        schedules::delete(tx, "inventory", "inventory.valuation");
        webhooks::delete(tx, t.webhook);
        sessions::revoke_others(tx, t.user, None, t.now);
        sessions::delete_of_user(tx, t.user);
        api_keys::delete(tx, t.key);
        api_keys::delete_of_user(tx, t.user);
        one_time_tokens::delete_of_user(tx, t.user);
        one_time_tokens::replace(tx, Uuid::nil(), t.user, purpose, "x", t.now, far);
        second_factors::enrol(tx, t.user, vec![1], t.now);
        second_factors::confirm(tx, UserId(t.event), &[1], 1, &[], t.now);
        second_factors::delete(tx, t.user);
        invitations::revoke_ended(tx, &guest, far);
        invitations::delete_of_email(tx, "old@bolts.example");
        idempotency::insert(tx, &actor, "furnish-1", &answered, t.now, far);
        roles::delete(tx, t.role);
        records::delete(tx, &items, t.item, 1);
        records::delete(tx, &items, t.item, 2);
        users::delete(tx, t.user, t.now, None);
        users::erase(tx, UserId(t.event), t.now);
    }
}

async fn open(file: &std::path::Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}

/// Everything that the other tenant has, table by table.
async fn dump(file: &std::path::Path, tenant: TenantId) -> String {
    let mut conn = open(file).await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%tenant_id%'")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    let mut all = String::new();
    for table in tables.iter().map(String::as_str).chain(["tenants"]) {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        let columns: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')")))
                .fetch_all(&mut conn)
                .await
                .unwrap();
        let quoted = columns.iter().map(|c| format!("quote(\"{c}\")")).collect::<Vec<_>>().join(" || ',' || ");
        let sql = format!("SELECT {quoted} FROM {table} WHERE {column} = $1 ORDER BY 1");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(tenant.0).fetch_all(&mut conn).await.unwrap();
        writeln!(all, "{table}: {}", rows.join("\n")).unwrap();
    }
    all
}

/// One run over a fresh copy of the data: what was told, and what is left of theirs.
async fn run(original: &std::path::Path, own: TenantId, t: &Theirs, other: TenantId) -> String {
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("purlin.db");
    std::fs::copy(original, &file).unwrap();
    let db =
        Db::open(&Config::Sqlite { file: file.clone(), readers: 1, list_timeout: std::time::Duration::from_secs(3) })
            .await
            .unwrap();
    let mut told = String::new();
    let mut tx = db.write(own).await.unwrap();
    ask(&mut tx, t, "bolts", &mut told).await;
    if let Err(error) = tx.commit().await {
        // What the database itself refuses is noticed, too.
        write!(told, "refused: {error}").unwrap();
    }
    db.close().await;
    told + &dump(&file, other).await
}

/// Beginnings of statements whose answer nobody sees.
const CHOOSES: [&str; 2] = [
    "SELECT ordering_key FROM jobs WHERE tenant_id = $1 AND id = $2",
    "SELECT id FROM jobs WHERE tenant_id = $1 AND state = 'dead'",
];

#[tokio::test]
async fn every_statement_that_forgets_its_tenant_is_noticed() {
    let mut host = Host::start(Database::sqlite()).await;
    host.upload(&["inventory"]).await;
    let (ada, bob) = (furnish(&host, "acme").await, furnish(&host, "bolts").await);
    let id = |client: &crate::support::Client| TenantId(client.me["tenant"]["id"].as_str().unwrap().parse().unwrap());
    let (own, other) = (id(&ada), id(&bob));
    assert!(host.stop().await);
    let file = host.database.directory.path().join("purlin.db");
    // Something for those statements that find what no request leaves behind.
    host.database
        .execute(
            "INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease,
                worker, leased_until, unique_key, ordering_key, root_id, depth, finished_at, created_at, updated_at)
             SELECT t.id, CASE n.state WHEN 'running' THEN (SELECT e.id FROM events e WHERE e.tenant_id = t.id LIMIT 1) ELSE n.id END,
                n.kind, 'inventory', '{}', n.state, '2026-06-01T00:00:00+00:00', 1, 3, 0, 7,
                CASE n.state WHEN 'running' THEN (SELECT e.id FROM events e WHERE e.tenant_id = t.id LIMIT 1) END,
                CASE n.state WHEN 'running' THEN '2099-01-01T00:00:00+00:00' END, n.unique_key, n.ordering_key,
                X'00000000000000000000000000000009', 1, n.finished_at, '2026-06-01T00:00:00+00:00', '2026-06-01T00:00:00+00:00'
             FROM tenants t, (
                SELECT 'ready' AS state, X'00000000000000000000000000000011' AS id, 'mutant' AS kind, 'theirs' AS unique_key,
                    NULL AS ordering_key, NULL AS finished_at
                UNION ALL SELECT 'running', NULL, 'running-one', NULL, 'inventory/lane', NULL
                UNION ALL SELECT 'dead', X'00000000000000000000000000000012', 'dead-one', NULL, NULL, '2026-06-01T00:00:00+00:00'
                UNION ALL SELECT 'waiting', X'00000000000000000000000000000013', 'waiting-one', NULL, 'inventory/lane', NULL
             ) n WHERE t.slug = 'bolts';
             UPDATE record_keys SET key = 'mutant', value = 'theirs' WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'bolts') AND collection = 'items';
             UPDATE events SET subject = 'mutant' WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'bolts');
             INSERT INTO users SELECT tenant_id, (SELECT id FROM events WHERE events.tenant_id = users.tenant_id LIMIT 1), 'gone@bolts.example', '', NULL, NULL, 0, 0, 0,
                created_at, updated_at, NULL, NULL, NULL, created_at, NULL, NULL FROM users WHERE email = 'admin@bolts.example';
             INSERT INTO second_factors SELECT tenant_id, id, X'01', NULL, 0, created_at FROM users WHERE email = 'gone@bolts.example';
             INSERT INTO audit_log SELECT tenant_id, X'00000000000000000000000000000001', actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
                request_id, created_at, mac, NULL, NULL FROM audit_log WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'bolts') LIMIT 1;
             UPDATE roles SET name = 'mutant' WHERE name = 'ops' AND tenant_id = (SELECT id FROM tenants WHERE slug = 'bolts');
             INSERT INTO invitations SELECT tenant_id, X'00000000000000000000000000000002', 'old@bolts.example', role_ids, 'revoked', secret_hash, invited_by,
                sent_count, expires_at, created_at, updated_at, NULL FROM invitations WHERE email = 'guest@bolts.example';
             DELETE FROM installations WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'acme');
             INSERT INTO audit_checkpoints SELECT tenant_id, seq, hash, 1, token, created_at FROM audit_checkpoints WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'bolts') LIMIT 1;
             UPDATE users SET updated_at = '2026-06-01T00:00:00+00:00'; UPDATE roles SET updated_at = '2026-06-01T00:00:00+00:00';
             UPDATE invitations SET updated_at = '2026-06-01T00:00:00+00:00'; UPDATE tenants SET updated_at = '2026-06-02T00:00:00+00:00' WHERE slug = 'acme';
             UPDATE tenants SET updated_at = '2026-06-01T00:00:00+00:00' WHERE slug = 'bolts';
             UPDATE webhooks SET updated_at = '2026-06-01T00:00:00+00:00', secret = X'01', old_secret = X'01';
             UPDATE schedules SET updated_at = '2026-06-01T00:00:00+00:00', next_at = '2026-06-01T00:00:00+00:00';
             UPDATE installations SET previous_version_id = version_id, previous_grants = grants, previous_settings = '[1]';
             PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .await;
    let theirs = theirs(&mut open(&file).await, other).await;
    mutants::choose(None);
    let clean = run(&file, own, &theirs, other).await;
    assert_eq!(clean, run(&file, own, &theirs, other).await, "asked again, the same is answered");
    let mut bolts = String::new();
    write!(bolts, "{}", dump(&file, other).await).unwrap();
    assert!(clean.ends_with(&bolts) && !clean.contains("refused: "), "nothing of theirs was touched");
    let all = mutants::seen();
    let mut unnoticed = Vec::new();
    for statement in &all {
        mutants::choose(Some(statement));
        if run(&file, own, &theirs, other).await == clean {
            unnoticed.push(*statement);
        }
    }
    mutants::choose(None);
    crate::support::measured!(
        "{} of {} statements that forgot their tenant were noticed",
        all.len() - unnoticed.len(),
        all.len()
    );
    assert!(all.len() >= 70, "{}", all.len());
    // These only choose rows that a further statement, with a tenant of its own, looks for.
    unnoticed.retain(|statement| !CHOOSES.iter().any(|begin| statement.starts_with(begin)));
    assert_eq!(unnoticed, Vec::<&str>::new());
}
