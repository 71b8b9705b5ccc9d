//! How a plugin goes on in a tenant: upgraded, rolled back, paused, uninstalled, purged; and
//! what it used.

use std::time::Duration;

use purlin_test_macros::db_test;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, raw_sql};
use tokio::time::sleep;

use crate::support::{Client, Database, Host, Options, Receiver, component, skipped};

pub(super) const INSTALLATION: &str = "/api/v1/installations/story";

/// An edition of the fixture: another byte, another component.
pub(super) fn edition(letter: u8) -> Vec<u8> {
    let mut bytes = component("story");
    let mark = b"story, edition A";
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the fixture has its mark");
    bytes[at + mark.len() - 1] = letter;
    bytes
}

pub(super) async fn upload(host: &Host, letters: &[u8]) {
    let operator = host.operator().await;
    for letter in letters {
        operator.upload(edition(*letter)).await.expect(201);
    }
}

pub(super) async fn enable(client: &Client, version: &str) -> Value {
    let mut wanted = json!({ "plugin": "story", "version": version });
    // An upgrade keeps what was granted.
    if client.get(INSTALLATION).await.status == 404 {
        wanted["grants"] = json!("all");
    }
    client.post("/api/v1/installations", &wanted).await.expect(201)
}

/// What the plugin wrote, in its order: by which edition, and what.
async fn tales(client: &Client) -> Vec<String> {
    client.settle().await;
    let rows = client.rows("/api/v1/apps/story/tales?sort=id&page[size]=200").await;
    let text =
        |row: &Value| format!("{}: {}", row["data"]["by"].as_str().unwrap(), row["data"]["text"].as_str().unwrap());
    rows.iter().map(text).collect()
}

async fn tell(client: &Client, subject: &str) {
    let event = json!({ "type": "story.told", "subject": subject, "data": {} });
    client.post("/api/v1/events", &event).await.expect(201);
}

/// Wait until the installation is as this says.
async fn wait_until(client: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        let view = client.get(INSTALLATION).await.expect(200);
        if holds(&view) {
            return view;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: {:#}", client.get(INSTALLATION).await.body);
}

#[db_test]
async fn an_upgrade_that_asks_for_more_runs_on_the_old_grants_until_an_administrator_agrees(database: Database) {
    let options = Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128");
    let host = Host::start_with(database, options).await;
    upload(&host, b"AB").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    tell(&ada, "one").await;
    let mut told = tales(&ada).await;
    told.sort();
    assert_eq!(told, ["A: Step::Enabled", "A: story.told one"]);

    let upgraded = enable(&ada, "1.1.0").await;
    assert_eq!(upgraded["not_granted"], json!(["events:read", "egress.localhost:fetch"]));
    assert_eq!((&upgraded["version"], &upgraded["previous_version"]), (&json!("1.1.0"), &json!("1.0.0")));
    tell(&ada, "two").await;
    let told = tales(&ada).await;
    let steps: Vec<&String> = told.iter().filter(|tale| tale.contains("upgraded")).collect();
    assert_eq!(steps, ["B: upgraded from 1.0.0, go 0", "B: upgraded from 1.0.0, go 1", "B: upgraded from 1.0.0, go 2"]);
    assert!(told.contains(&"B: story.told two".to_owned()), "{told:?}");
    let receiver = Receiver::saying(Vec::new()).await;
    let call = json!({ "url": receiver.url.replace("127.0.0.1", "localhost") });
    let refused = ada.run("story.call", call.clone()).await;
    assert!(refused["result"]["error"].as_str().unwrap().contains("not granted"), "{refused:#}");
    host.member(&ada, "bob@acme.example", &[]).await;
    assert!(!tales(&ada).await.iter().any(|tale| tale.contains("user.")), "events of others were not granted");
    assert_eq!(receiver.count(), 0);

    let all = json!({ "plugin": "story", "grants": upgraded["asks_for"] });
    assert_eq!(ada.post("/api/v1/installations", &all).await.expect(201)["not_granted"], json!([]));
    assert_eq!(ada.run("story.call", call).await["result"], json!({ "status": 200 }));
    host.member(&ada, "eve@acme.example", &[]).await;
    assert!(tales(&ada).await.iter().any(|tale| tale.starts_with("B: user.created")));
    let changes = ada.rows("/api/v1/audit-logs?filter[action]=plugin.enabled&sort=created_at").await;
    assert_eq!(changes[1]["changes"]["version"], json!({ "before": "1.0.0", "after": "1.1.0" }));
}

#[db_test]
async fn a_version_that_refuses_old_records_has_to_do_something_about_them(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"ADE").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    let long = ada.create("story/tales", json!({ "text": "x".repeat(200), "by": "ada" })).await;
    let wanted = json!({ "plugin": "story", "version": "2.1.0" });
    let refused = ada.post("/api/v1/installations", &wanted).await;
    let pointer = refused.body["errors"][0]["pointer"].as_str().unwrap_or_default();
    assert_eq!(pointer, "/version/collections/0/schema/properties/text/maxLength", "{:#}", refused.body);
    assert_eq!(refused.problem(422), "invalid");

    enable(&ada, "2.0.0").await;
    let done = |view: &Value| view["last_step"]["rounds"] == 2 && view["last_step"]["state"] == "succeeded";
    let view = wait_until(&ada, "it is done with the upgrade", done).await;
    let step = &view["last_step"];
    assert_eq!((&step["step"], &step["progress"]), (&json!("upgraded"), &json!(66)), "{step:#}");
    let tale = format!("/api/v1/apps/story/tales/{long}");
    assert_eq!(ada.get(&tale).await.expect(200)["data"]["by"], "ada", "it is still there");
    assert_eq!(ada.patch(&tale, &json!({ "by": "bob" })).await.status, 422, "what is written is written anew");
    ada.patch(&tale, &json!({ "text": "short" })).await.expect(200);
    // Where it goes back to is what wrote it.
    ada.post("/api/v1/installations/story/rollback", &json!({})).await.expect(200);
}

#[db_test]
async fn a_step_that_failed_for_good_is_the_reason_that_is_shown(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AD").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    ada.settle().await;
    ada.post("/api/v1/job-pauses", &json!({ "kind": "core.lifecycle" })).await.expect(201);
    assert_eq!(enable(&ada, "2.0.0").await["reason"], Value::Null);
    host.database
        .execute("UPDATE jobs SET state = 'dead', last_error = 'it trapped', finished_at = created_at WHERE kind = 'core.lifecycle'")
        .await;
    let view = ada.get(INSTALLATION).await.expect(200);
    let reason = view["reason"].as_str().unwrap();
    assert!(reason.contains("`upgraded`") && reason.contains("it trapped"), "{view:#}");
}

#[db_test]
async fn an_index_is_made_for_what_was_there_before_a_version_declares_it(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AF").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    // More than are read at once.
    for n in 0..230 {
        ada.create("story/tales", json!({ "text": format!("{n}"), "by": if n % 100 == 7 { "bob" } else { "eve" } }))
            .await;
    }
    let by = async |name: &str| {
        let rows = ada.rows(&format!("/api/v1/apps/story/tales?filter[by]={name}&sort=id&page[size]=200")).await;
        rows.iter().map(|row| row["data"]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(by("bob").await, ["7", "107", "207"]);

    let upgraded = enable(&ada, "1.3.0").await;
    assert_eq!(upgraded["indexed"], json!([]), "it is not there at once");
    let ready = |view: &Value| view["indexed"] == json!(["tales.by"]);
    wait_until(&ada, "the index is made", ready).await;
    assert_eq!(by("bob").await, ["7", "107", "207"]);
    let bobs = ada.rows("/api/v1/apps/story/tales?filter[by]=bob&sort=id").await;
    let path = |n: usize| format!("/api/v1/apps/story/tales/{}", bobs[n]["id"].as_str().unwrap());
    ada.patch(&path(0), &json!({ "by": "zoe" })).await.expect(200);
    ada.delete(&path(1)).await.expect(204);
    ada.create("story/tales", json!({ "text": "new", "by": "zoe" })).await;
    assert_eq!((by("bob").await, by("zoe").await), (vec!["207".to_owned()], vec!["7".to_owned(), "new".to_owned()]));
    // Lists do use it: what it has not they do not find.
    host.database.execute("DELETE FROM record_marks WHERE mark = 'sbob'").await;
    assert!(by("bob").await.is_empty());

    // The version before keeps none; back in this one, all is there again.
    let back = ada.post("/api/v1/installations/story/rollback", &json!({})).await.expect(200);
    assert_eq!(back["indexed"], json!([]));
    assert_eq!(by("bob").await, ["207"]);
    ada.create("story/tales", json!({ "text": "between", "by": "bob" })).await;
    ada.settle().await;
    assert_eq!(host.database.count("SELECT count(*) FROM record_marks").await, 0, "what nobody declares is forgotten");
    enable(&ada, "1.3.0").await;
    assert_eq!(by("bob").await, ["207", "between"]);
    wait_until(&ada, "the index is made again", ready).await;
    assert_eq!(by("bob").await, ["207", "between"]);
    // Where the job was cancelled, to enable it once more has it made.
    host.database.execute("UPDATE installations SET indexed = '[]' WHERE plugin = 'story'").await;
    enable(&ada, "1.3.0").await;
    wait_until(&ada, "the index is made once more", ready).await;
    ada.settle().await;
    let job = &ada.rows("/api/v1/jobs?filter[kind]=index_records&sort=-id").await[0];
    assert_eq!(job["progress"], 100, "{job:#}");
}

/// Two moments of a commit that no test meets by chance; only here does it wait for anybody.
#[tokio::test]
async fn a_write_that_began_under_the_version_before_does_not_escape_an_index() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let host = Host::start(database).await;
    upload(&host, b"AF").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    let mut past = PgConnection::connect(host.database.url.as_ref().unwrap()).await.unwrap();
    raw_sql("SET row_security = off").execute(&mut past).await.unwrap();
    let tale = json!({ "text": "x", "by": "bob" });
    let found = async || ada.rows("/api/v1/apps/story/tales?filter[by]=bob").await.len();

    // It has looked which version runs, and has not committed when that is another one.
    raw_sql("BEGIN; LOCK TABLE records IN SHARE MODE").execute(&mut past).await.unwrap();
    let release = async {
        sleep(Duration::from_secs(2)).await;
        raw_sql("COMMIT").execute(&mut past).await.unwrap();
    };
    let upgrade = async {
        sleep(Duration::from_secs(1)).await;
        enable(&ada, "1.3.0").await
    };
    let (_, upgraded, ()) = tokio::join!(ada.create("story/tales", tale.clone()), upgrade, release);
    assert_eq!(upgraded["indexed"], json!([]), "there is a record without a mark");
    wait_until(&ada, "the index is made", |view| view["indexed"] == json!(["tales.by"])).await;
    assert_eq!(found().await, 1);

    // It is about to look, with the version before in its hands.
    ada.post("/api/v1/installations/story/rollback", &json!({})).await.expect(200);
    ada.settle().await;
    let hold = "BEGIN; SELECT 1 FROM installations WHERE plugin = 'story' FOR UPDATE;
         INSERT INTO record_marks SELECT tenant_id, plugin, collection, 'by', 'sbob', id, created_at FROM records WHERE data->>'by' = 'bob'";
    raw_sql(hold).execute(&mut past).await.unwrap();
    let newer = "UPDATE installations SET indexed = '[\"tales.by\"]',
            version_id = (SELECT id FROM plugin_versions WHERE plugin = 'story' AND version = '1.3.0') WHERE plugin = 'story';
         COMMIT";
    let upgrade = async {
        sleep(Duration::from_secs(1)).await;
        raw_sql(newer).execute(&mut past).await.unwrap();
    };
    tokio::join!(ada.create("story/tales", tale), upgrade);
    assert_eq!(found().await, 2);
}

#[db_test]
async fn a_new_version_that_keeps_trapping_goes_back_and_nothing_is_lost(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"ABC").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.1.0").await;
    enable(&ada, "1.2.0").await;
    for n in 0..10 {
        tell(&ada, &format!("{n}")).await;
    }
    let back = wait_until(&ada, "it goes back", |view| view["version"] == "1.1.0").await;
    assert!(back["reason"].as_str().unwrap().starts_with("version 1.2.0 was ended 5 times in a row"), "{back:#}");
    assert_eq!((&back["state"], &back["previous_version"]), (&json!("enabled"), &Value::Null));
    assert!(back["grants"].as_array().unwrap().contains(&json!("events:read")), "with what was granted to it");
    let told = tales(&ada).await;
    for n in 0..10 {
        assert_eq!(told.iter().filter(|tale| **tale == format!("B: story.told {n}")).count(), 1, "{n}: {told:?}");
    }
    assert_eq!(ada.rows("/api/v1/jobs?filter[state]=dead").await.len(), 0);
    assert_eq!(ada.rows("/api/v1/events?filter[type]=plugin.rolled_back").await.len(), 1);
    let audit = ada.rows("/api/v1/audit-logs?filter[action]=plugin.rolled_back").await;
    assert_eq!((audit.len(), &audit[0]["changes"]["version"]["after"]), (1, &json!("1.1.0")));
}

#[db_test]
async fn an_administrator_goes_back_by_hand_once(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AB").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    let path = format!("{INSTALLATION}/rollback");
    assert_eq!(ada.post(&path, &json!({})).await.problem(409), "no_previous_version");
    enable(&ada, "1.1.0").await;
    let back = ada.post(&path, &json!({})).await.expect(200);
    assert_eq!((&back["version"], &back["reason"]), (&json!("1.0.0"), &Value::Null));
    tell(&ada, "again").await;
    assert!(tales(&ada).await.contains(&"A: story.told again".to_owned()));
    assert_eq!(ada.post(&path, &json!({})).await.problem(409), "no_previous_version");
    assert_eq!(ada.post("/api/v1/installations/probe/rollback", &json!({})).await.problem(404), "not_found");
}

#[db_test]
async fn a_plugin_that_keeps_trapping_rests_and_its_deliveries_wait(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AC").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.2.0").await;
    ada.post("/api/v1/job-pauses", &json!({ "kind": "core.deliver" })).await.expect(201);
    for n in 0..25 {
        tell(&ada, &format!("{n}")).await;
    }
    ada.delete("/api/v1/job-pauses/*/core.deliver").await.expect(204);
    let paused = wait_until(&ada, "it is paused", |view| view["state"] == "paused").await;
    assert!(paused["reason"].as_str().unwrap().contains("it trapped"), "{paused:#}");
    host.member(&ada, "late@acme.example", &[]).await;
    let waiting = ada.rows("/api/v1/jobs?filter[plugin]=story&filter[state][in]=ready,scheduled&page[size]=100").await;
    assert!(waiting.len() > 25, "none was lost, and what came later waits too: {}", waiting.len());
    let why = ada.get(&format!("/api/v1/jobs/{}/why", waiting[0]["id"].as_str().unwrap())).await.expect(200);
    assert!(why.to_string().contains("paused") || why.to_string().contains("attempt"), "{why}");
    assert_eq!(ada.get("/api/v1/apps/story/tales").await.problem(503), "plugin_paused");
    assert_eq!(ada.rows("/api/v1/events?filter[type]=plugin.paused").await.len(), 1);
    enable(&ada, "1.0.0").await;
    let told = tales(&ada).await;
    let count = |text: &str| told.iter().filter(|tale| **tale == format!("A: story.told {text}")).count();
    assert!((0..25).all(|n| count(&n.to_string()) == 1), "{told:?}");
    assert!(told.iter().any(|tale| tale.starts_with("A: user.created")), "{told:?}");
    let path = format!("{INSTALLATION}/resume");
    assert_eq!(ada.post(&path, &json!({})).await.problem(409), "not_paused");
}

#[db_test]
async fn what_is_uninstalled_leaves_its_data_and_what_is_purged_leaves_nothing(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe"]).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    for tenant in [&ada, &bob] {
        tenant.enable("probe").await;
        for n in 0..3 {
            tenant.create("probe/notes", json!({ "text": format!("note {n}") })).await;
        }
        let file = json!({ "calls": [{ "do": "put", "key": "kept.txt", "text": "kept" }] });
        tenant.post("/api/v1/apps/probe/-/script", &file).await.expect(200);
        tenant.settle().await;
    }
    let path = "/api/v1/installations/probe";
    let secret = ada.request(reqwest::Method::PUT, &format!("{path}/secrets/token")).json(&json!({ "value": "s" }));
    ada.send(secret).await.expect(204);
    ada.settle().await;
    ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo", "delay_ms": 1_000_000 })).await.expect(202);
    let confirm = json!({ "confirm": "probe" });
    let preview = ada.get(&format!("{path}/purge")).await.expect(200);
    let records = json!([{ "collection": "effects", "records": 1 }, { "collection": "notes", "records": 3 }]);
    assert_eq!(
        (&preview["records"], &preview["files"], &preview["jobs"]),
        (&records, &json!(1), &json!(1)),
        "{preview:#}"
    );
    assert_eq!(ada.post(&format!("{path}/purge"), &confirm).await.problem(409), "enabled");
    ada.post(&format!("{path}/uninstall"), &json!({})).await.expect(204);
    assert_eq!(ada.get(path).await.problem(404), "not_found");
    ada.settle().await;
    assert_eq!(ada.rows("/api/v1/jobs?filter[kind]=probe.echo&filter[state]=cancelled").await.len(), 1);
    ada.enable("probe").await;
    assert_eq!(ada.rows("/api/v1/apps/probe/notes").await.len(), 3, "the data is still there");
    let view = ada.get(path).await.expect(200);
    assert_eq!(view["secrets"][0]["set_at"], Value::Null, "the secrets are not");
    ada.delete(path).await.expect(204);
    assert_eq!(ada.post(&format!("{path}/purge"), &json!({ "confirm": "prob" })).await.problem(422), "invalid");
    let job = ada.post(&format!("{path}/purge"), &confirm).await.expect(202);
    assert_eq!(ada.wait_for_job(job["id"].as_str().unwrap()).await["state"], "succeeded");
    let after = ada.get(&format!("{path}/purge")).await.expect(200);
    assert_eq!((&after["records"], &after["files"], &after["jobs"]), (&json!([]), &json!(0), &json!(0)), "{after:#}");
    ada.enable("probe").await;
    assert_eq!(ada.rows("/api/v1/apps/probe/notes").await.len(), 0);
    ada.create("probe/notes", json!({ "text": "note 0" })).await;
    assert_eq!(bob.rows("/api/v1/apps/probe/notes").await.len(), 3, "another tenant's data is its own");
    bob.get(&format!("{path}/files/kept.txt")).await;
    for action in ["plugin.uninstalled", "plugin.purged"] {
        assert_eq!(ada.rows(&format!("/api/v1/audit-logs?filter[action]={action}")).await.len(), 1, "{action}");
        assert_eq!(ada.rows(&format!("/api/v1/events?filter[type]={action}")).await.len(), 1, "{action}");
    }
}

#[db_test]
async fn what_a_plugin_used_is_told_by_the_hour_and_call_by_call(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.run("probe.echo", json!({})).await;
    ada.run("probe.everything", json!({})).await;
    ada.run("probe.write-then-fail", json!({})).await;
    ada.run("probe.spin", json!({})).await;
    ada.run("probe.write-then-panic", json!({})).await;
    ada.get("/api/v1/apps/probe/-/echo/word").await.expect(200);
    ada.create("probe/notes", json!({ "text": "checked" })).await;
    ada.settle().await;
    sleep(Duration::from_millis(2_500)).await;
    let rows = ada.rows("/api/v1/installations/probe/invocations?sort=created_at&page[size]=100").await;
    let seen: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["trigger"], row["subject"], row["outcome"]).replace('"', ""))
        .collect();
    for wanted in [
        "job probe.echo ok",
        "job probe.write-then-fail failed",
        "job probe.spin limit",
        "job probe.write-then-panic trap",
        "route GET /echo/{word} ok",
        "check probe.notes ok",
        "event probe.notes.created ok",
    ] {
        assert!(seen.contains(&wanted.to_owned()), "{wanted}: {seen:?}");
    }
    let spin = rows.iter().find(|row| row["outcome"] == "limit").unwrap();
    assert_eq!(spin["limit_met"], "cpu");
    assert!(
        spin["cpu_us"].as_i64().unwrap() >= 9_000_000 && spin["wall_us"].as_i64() >= spin["cpu_us"].as_i64(),
        "{spin}"
    );
    let event = rows.iter().find(|row| row["trigger"] == "event").unwrap();
    let is_check_of_it = |row: &&Value| row["trigger"] == "check" && row["trace_id"] == event["trace_id"];
    assert_eq!(rows.iter().filter(is_check_of_it).count(), 1, "one trace from the request to the handler");
    let hours = ada.rows("/api/v1/installations/probe/usage").await;
    let sum = |name: &str| hours.iter().map(|hour| hour[name].as_i64().unwrap()).sum::<i64>();
    assert_eq!(sum("invocations"), i64::try_from(rows.len()).unwrap());
    let ill = rows.iter().filter(|row| row["outcome"] != "ok").count();
    assert!(ill >= 3 && sum("failures") == i64::try_from(ill).unwrap(), "{ill}");
    assert!(sum("cpu_us") >= 9_000_000 && sum("host_calls") > 0 && sum("write_bytes") > 0);
    assert_eq!(ada.get("/api/v1/installations/inventory/usage").await.problem(404), "not_found");
}

#[db_test]
async fn a_version_that_runs_again_has_settings_that_it_can_take(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AF").await;
    let ada = host.tenant("acme").await;
    let run = async |version: &str, settings: Value| {
        ada.post(
            "/api/v1/installations",
            &json!({ "plugin": "story", "version": version, "grants": "all", "settings": settings }),
        )
        .await
    };
    let set = async |settings: Value| {
        let request = ada.request(reqwest::Method::PUT, &format!("{INSTALLATION}/settings"));
        ada.send(request.json(&settings)).await.expect(200);
    };
    let back = async || ada.post(&format!("{INSTALLATION}/rollback"), &json!({})).await.expect(200);
    run("1.0.0", json!({ "tone": "low", "volume": 3 })).await.expect(422);
    run("1.0.0", json!({ "tone": "low" })).await.expect(201);
    // What it can take, it keeps.
    run("1.3.0", json!({ "tone": "middle" })).await.expect(201);
    set(json!({ "tone": "high" })).await;
    assert_eq!(back().await["settings"], json!({ "tone": "high" }));
    // What it cannot, is as it was.
    run("1.3.0", json!({ "tone": "middle", "volume": 1 })).await.expect(201);
    set(json!({ "tone": "middle", "volume": 2 })).await;
    assert_eq!(back().await["settings"], json!({ "tone": "high" }));
    assert_eq!(ada.get(INSTALLATION).await.expect(200)["settings"], json!({ "tone": "high" }));
}

#[db_test]
async fn a_tenant_that_used_up_its_time_of_the_day_waits(database: Database) {
    let plans = json!({ "standard": { "cpu_seconds_per_day_max": 5 } });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    let echo = "/api/v1/apps/probe/-/echo/word";
    ada.get(echo).await.expect(200);
    ada.run("probe.spin", json!({})).await;
    assert_eq!(ada.get(echo).await.problem(429), "too_many_requests");
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
    sleep(Duration::from_secs(2)).await;
    let job = ada.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await.expect(200);
    assert!(["scheduled", "ready"].contains(&job["state"].as_str().unwrap()), "{job:#}");
}
