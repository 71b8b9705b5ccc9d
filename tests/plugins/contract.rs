//! The interfaces of the contract beside records, events and jobs: settings, secrets, files,
//! requests, checks of writes, the budget.

use std::time::Duration;

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Database, Host, Options, Receiver};

const SCRIPT: &str = "/api/v1/apps/probe/-/script";

/// What each of these calls answers, made by one invocation.
async fn calls(client: &Client, calls: Value) -> Vec<Value> {
    client.post(SCRIPT, &json!({ "calls": calls })).await.expect(200).as_array().unwrap().clone()
}

async fn call(client: &Client, one: Value) -> Value {
    calls(client, json!([one])).await.remove(0)
}

async fn put(client: &Client, path: &str, body: Value) -> Answer {
    client.send(client.request(Method::PUT, path).json(&body)).await
}

#[track_caller]
fn assert_refused(answer: &Value, why: &str) {
    assert!(answer["error"].as_str().is_some_and(|error| error.contains(why)), "{why}: {answer}");
}

#[db_test]
async fn settings_are_checked_kept_and_told_to_the_plugin(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    assert_eq!(call(&ada, json!({ "do": "settings" })).await["ok"], json!({ "greeting": "hello" }), "the default");
    let path = "/api/v1/installations/probe/settings";
    for (bad, pointer) in
        [(json!({ "count": -1 }), "/count"), (json!({ "count": "x" }), "/count"), (json!({ "other": 1 }), "/other")]
    {
        let refused = put(&ada, path, bad.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{bad}: {refused:#}");
    }
    let set = put(&ada, path, json!({ "greeting": "hi", "count": 2 })).await.expect(200);
    assert_eq!(set["settings"], json!({ "greeting": "hi", "count": 2 }));
    assert_eq!(set["settings_schema"]["properties"]["greeting"]["default"], "hello");
    ada.settle().await;
    let effects = ada.rows("/api/v1/apps/probe/effects").await;
    assert_eq!(effects[0]["data"]["key"], "Step::Configured \"hi\"", "the plugin was told");
    assert_eq!(effects.len(), 1);
    let configured = ada.rows("/api/v1/audit-logs?filter[action]=plugin.configured").await;
    assert_eq!(configured[0]["changes"]["settings"]["after"], json!({ "greeting": "hi", "count": 2 }));
    put(&ada, path, json!({ "greeting": "hi", "count": 2 })).await.expect(200);
    ada.settle().await;
    assert_eq!(ada.rows("/api/v1/apps/probe/effects").await.len(), 1, "nothing changed, nothing is told");
    let settings = call(&ada, json!({ "do": "settings" })).await;
    assert_eq!(settings["ok"], json!({ "greeting": "hi", "count": 2 }));
    let consent =
        json!({ "plugin": "probe", "grants": "all", "settings": { "count": 3 }, "secrets": { "token": "s3cret" } });
    let enabled = ada.post("/api/v1/installations", &consent).await.expect(201);
    assert_eq!(enabled["settings"], json!({ "count": 3 }));
    assert!(enabled["secrets"][0]["set_at"].is_string(), "{enabled:#}");
    let bad = json!({ "plugin": "probe", "grants": "all", "settings": { "count": -3 } });
    let refused = ada.post("/api/v1/installations", &bad).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/settings/count");
}

#[db_test]
async fn a_secret_is_read_by_its_plugin_and_shown_to_nobody(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.tenant("bolts").await;
    bob.enable("probe").await;
    let read = json!({ "do": "secret", "name": "token" });
    assert_refused(&call(&ada, read.clone()).await, "not found");
    assert_refused(&call(&ada, json!({ "do": "secret", "name": "other" })).await, "not among the secrets");
    let path = "/api/v1/installations/probe/secrets/token";
    put(&ada, path, json!({ "value": "swordfish-1" })).await.expect(204);
    assert_eq!(call(&ada, read.clone()).await["ok"], "swordfish-1");
    put(&ada, path, json!({ "value": "swordfish-2" })).await.expect(204);
    assert_eq!(call(&ada, read.clone()).await["ok"], "swordfish-2");
    assert_refused(&call(&bob, read.clone()).await, "not found");
    put(&ada, "/api/v1/installations/probe/secrets/other", json!({ "value": "x" })).await.expect(404);
    put(&ada, path, json!({ "value": "" })).await.expect(422);
    put(&ada, path, json!({ "value": "x".repeat(20_000) })).await.expect(422);
    let shown = ada.get("/api/v1/installations/probe").await.expect(200).to_string()
        + &json!(ada.rows("/api/v1/audit-logs?page[size]=200").await).to_string()
        + &json!(ada.rows("/api/v1/events?page[size]=200").await).to_string()
        + &host.log();
    assert!(!shown.contains("swordfish") && shown.contains("plugin.configured"));
    ada.delete(path).await.expect(204);
    ada.delete(path).await.expect(404);
    assert_refused(&call(&ada, read).await, "not found");
}

#[db_test]
async fn changes_of_an_installation_and_what_its_plugin_does_about_them_do_not_wait_in_a_circle(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let path = "/api/v1/installations/probe/secrets/token";
    // The plugin is told of each, in one lane, and writes a record.
    for n in 0..60 {
        put(&ada, path, json!({ "value": format!("swordfish-{n}") })).await.expect(204);
    }
    ada.settle().await;
}

#[db_test]
async fn files_commit_with_the_invocation_that_writes_them(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let write = json!([
        { "do": "put", "key": "a/one.txt", "text": "first" },
        { "do": "put", "key": "a/two.txt", "text": "second", "type": "text/html" },
        { "do": "put", "key": "b", "text": "gone" },
        { "do": "remove", "key": "b" },
        { "do": "read", "key": "a/one.txt", "offset": 1, "length": 3 },
        { "do": "stat", "key": "b" },
        { "do": "files", "prefix": "a/", "size": 1 },
    ]);
    let answers = calls(&ada, write.clone()).await;
    assert_eq!(answers[4]["ok"], "irs", "a read sees what the invocation wrote");
    assert_refused(&answers[5], "not found");
    assert_eq!(answers[6]["ok"], json!({ "keys": ["a/one.txt"], "next": "a/one.txt" }));
    for then in ["fail", "panic"] {
        let script = json!({ "calls": [{ "do": "put", "key": "a/one.txt", "text": then }], "then": then });
        assert_eq!(ada.run("probe.script", script).await["state"], "dead");
    }
    let rows = ada.rows("/api/v1/installations/probe/files?sort=key").await;
    let keys: Vec<&Value> = rows.iter().map(|row| &row["key"]).collect();
    assert_eq!(keys, ["a/one.txt", "a/two.txt"]);
    assert_eq!((&rows[0]["bytes"], &rows[0]["content_type"]), (&json!(5), &json!("text/plain")));
    let path = "/api/v1/installations/probe/files/a/two.txt";
    let answer = ada.request(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"two.txt\"");
    assert_eq!(answer.headers()["content-security-policy"], "sandbox");
    assert_eq!(answer.text().await.unwrap(), "second");
    let replaced = calls(
        &ada,
        json!([
            { "do": "read", "key": "a/one.txt" },
            { "do": "put", "key": "a/one.txt", "text": "x", "times": 1 << 20 },
            { "do": "read", "key": "a/one.txt", "offset": (1 << 20) - 1, "length": 10 },
            { "do": "files", "prefix": "" },
        ]),
    );
    let replaced = replaced.await;
    assert_eq!((&replaced[0]["ok"], &replaced[2]["ok"]), (&json!("first"), &json!("x")));
    assert_eq!(replaced[3]["ok"]["keys"], json!(["a/one.txt", "a/two.txt"]));
    let read = json!({ "do": "read", "key": "a/one.txt", "offset": (1 << 20) - 3 });
    assert_eq!(call(&ada, read).await["ok"], "xxx");
    call(&ada, json!({ "do": "remove", "key": "a/two.txt" })).await;
    ada.get(path).await.expect(404);
    let bob = host.tenant("bolts").await;
    bob.enable("probe").await;
    assert_refused(&call(&bob, json!({ "do": "read", "key": "a/one.txt" })).await, "not found");
    bob.get("/api/v1/installations/probe/files/a/one.txt").await.expect(404);
    let low = host.member(&ada, "low@acme.example", &[]).await;
    assert_eq!(low.get("/api/v1/installations/probe/files").await.problem(403), "forbidden");
    let viewer = host.member(&ada, "viewer@acme.example", &["viewer"]).await;
    viewer.get("/api/v1/installations/probe/files").await.expect(200);
}

#[db_test]
async fn no_key_of_a_file_leads_out_of_its_folder_and_no_file_beyond_its_limits(database: Database) {
    let plans = json!({ "standard": { "file_bytes_max": 3_000_000 } });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    for key in ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/.b", "a b", "a\\b", "a/", &"k".repeat(201)] {
        for verb in ["put", "read", "stat", "remove"] {
            let answer = call(&ada, json!({ "do": verb, "key": key, "text": "x" })).await;
            assert!(answer["error"].is_string(), "{verb} {key}: {answer}");
        }
    }
    for bad in ["", "text", "text/html\r\nx: y", &"a/".repeat(100)] {
        assert_refused(&call(&ada, json!({ "do": "put", "key": "a", "type": bad })).await, "media type");
    }
    let mebibyte = json!({ "do": "put", "key": "a", "text": "x", "times": 1 << 20 });
    let too_large = json!({ "do": "put", "key": "a", "text": "x", "times": (1 << 20) + 1 });
    assert_refused(&call(&ada, too_large).await, "PayloadBytes");
    assert_refused(&call(&ada, json!({ "do": "read", "key": "a", "length": (1 << 20) + 1 })).await, "PayloadBytes");
    for key in ["a", "b"] {
        let mut one = mebibyte.clone();
        one["key"] = json!(key);
        assert!(call(&ada, one).await["ok"].is_string());
    }
    let mut third = mebibyte.clone();
    third["key"] = json!("c");
    assert_refused(&call(&ada, third).await, "FileBytes");
    assert!(call(&ada, mebibyte).await["ok"].is_string(), "what replaces a file needs no more room");
    call(&ada, json!({ "do": "remove", "key": "b" })).await;
    let many: Vec<Value> = (0..101).map(|n| json!({ "do": "put", "key": format!("many/{n}"), "text": "x" })).collect();
    let answers = calls(&ada, json!(many)).await;
    assert_refused(&answers[100], "Files");
    assert!(answers[99]["ok"].is_string());
}

#[db_test]
async fn a_plugin_reaches_the_hosts_it_was_granted_and_no_others(database: Database) {
    let options = Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let receiver = Receiver::saying(b"hello out there".to_vec()).await;
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let fetch = |url: &str| json!({ "do": "fetch", "method": "POST", "url": url, "body": "ping" });
    let answer = call(&ada, fetch(&url)).await;
    assert_eq!((&answer["ok"]["status"], &answer["ok"]["body"]), (&json!(200), &json!("hello out there")));
    for (other, why) in [
        (receiver.url.as_str(), "not among the hosts"),
        ("https://example.com/", "not among the hosts"),
        ("https://api.example.com.evil.test/", "not among the hosts"),
        ("https://localhost@evil.test/", "user"),
        ("ftp://localhost/", "https"),
        ("localhost", "URL"),
    ] {
        assert_refused(&call(&ada, fetch(other)).await, why);
    }
    for (headers, method) in [
        (json!({ "host": "evil.test" }), "GET"),
        (json!({ "a b": "c" }), "GET"),
        (json!({ "x": "a\r\nb: c" }), "GET"),
        (json!({}), "CONNECT"),
    ] {
        let one = json!({ "do": "fetch", "method": method, "url": url, "headers": headers });
        assert_refused(&call(&ada, one).await, "invalid");
    }
    assert_eq!(receiver.count(), 1, "nothing of these was sent");
    let target = Receiver::saying(Vec::new()).await;
    let elsewhere = Receiver::redirecting_to(&target.url).await;
    let moved = call(&ada, fetch(&elsewhere.url.replace("127.0.0.1", "localhost"))).await;
    assert_eq!((&moved["ok"]["status"], target.count()), (&json!(302), 0), "a redirect is an answer");
    let many: Vec<Value> = (0..9).map(|_| fetch(&url)).collect();
    let answers = calls(&ada, json!(many)).await;
    assert!(answers[7]["ok"].is_object());
    assert_refused(&answers[8], "Fetches");
    let large = Receiver::saying(vec![b'x'; (1 << 20) + 1]).await;
    assert_refused(&call(&ada, fetch(&large.url.replace("127.0.0.1", "localhost"))).await, "ResponseBytes");
    assert_refused(&call(&ada, fetch("http://localhost:1/")).await, "unavailable");
    let grants: Vec<Value> = ada.get("/api/v1/installations/probe").await.expect(200)["grants"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|grant| *grant != "egress.localhost:fetch")
        .cloned()
        .collect();
    let consent = json!({ "plugin": "probe", "grants": grants });
    let view = ada.post("/api/v1/installations", &consent).await.expect(201);
    assert_eq!(view["not_granted"], json!(["egress.localhost:fetch"]));
    assert_refused(&call(&ada, fetch(&url)).await, "egress.localhost:fetch was not granted");
}

#[db_test]
async fn nothing_within_reaches_the_inside_of_the_network(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let receiver = Receiver::saying(Vec::new()).await;
    for url in
        [receiver.url.replace("127.0.0.1", "localhost"), receiver.url.replace("http://127.0.0.1", "https://localhost")]
    {
        let answer = call(&ada, json!({ "do": "fetch", "url": url })).await;
        assert_refused(&answer, "invalid");
    }
    assert_eq!(receiver.count(), 0);
}

#[db_test]
async fn a_request_has_the_same_key_whenever_the_same_job_sends_it(database: Database) {
    let options = Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let receiver = Receiver::saying(Vec::new()).await;
    let fetch = json!({ "do": "fetch", "method": "POST", "url": receiver.url.replace("127.0.0.1", "localhost"), "body": "pay" });
    let failed = ada.run("probe.script", json!({ "calls": [fetch, fetch], "then": "fail" })).await;
    let path = format!("/api/v1/jobs/{}/retry", failed["id"].as_str().unwrap());
    ada.post(&path, &json!({})).await.expect(200);
    receiver.wait_for(4, Duration::from_secs(20)).await;
    ada.run("probe.script", json!({ "calls": [fetch] })).await;
    let sent = receiver.wait_for(5, Duration::from_secs(20)).await;
    let keys: Vec<&str> = sent.iter().map(|delivery| delivery.header("idempotency-key")).collect();
    assert!(keys.iter().all(|key| key.len() == 32), "{keys:?}");
    assert_eq!((keys[0], keys[1]), (keys[2], keys[3]), "a retry sends the same");
    assert_ne!(keys[0], keys[1], "two equal requests of one run are two");
    assert!(!keys[..4].contains(&keys[4]), "another job is another");
}

#[db_test]
async fn the_key_that_a_caller_names_makes_keys_of_that_caller_alone(database: Database) {
    let options = Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let receiver = Receiver::saying(Vec::new()).await;
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let script = json!({ "calls": [{ "do": "fetch", "method": "POST", "url": url, "body": "pay" }], "then": "fail" });
    for client in [&ada, &ada, &bob] {
        // The plugin fails, so that nothing is kept to be answered again.
        let request = client.request(Method::POST, SCRIPT).header("idempotency-key", "order-1").json(&script);
        assert!(client.send(request).await.status >= 400);
    }
    let sent = receiver.wait_for(3, Duration::from_secs(20)).await;
    let keys: Vec<&str> = sent.iter().map(|delivery| delivery.header("idempotency-key")).collect();
    assert_eq!(keys[0], keys[1], "a repetition of a caller sends the same");
    assert_ne!(keys[0], keys[2], "another caller's is another");
}

#[db_test]
async fn a_plugin_checks_what_is_written_to_its_collections(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let path = "/api/v1/apps/probe/notes";
    let refused = ada.post(path, &json!({ "text": "unwelcome" })).await.expect(422);
    assert_eq!(
        (&refused["errors"][0]["pointer"], &refused["errors"][0]["detail"]),
        (&json!("/text"), &json!("is not welcome"))
    );
    assert_eq!(ada.post(path, &json!({ "text": "check: say nothing" })).await.problem(422), "invalid");
    for how in ["panic", "spin"] {
        assert_eq!(ada.post(path, &json!({ "text": format!("check: {how}") })).await.problem(502), "plugin_failed");
    }
    let written = ada.post(path, &json!({ "text": "check: write" })).await.expect(422).to_string();
    assert_eq!(written.matches("nothing can be written").count(), 2, "{written}");
    let kept = ada.create("probe/notes", json!({ "text": "kept" })).await;
    assert_eq!(ada.delete(&format!("{path}/{kept}")).await.problem(422), "invalid");
    ada.patch(&format!("{path}/{kept}"), &json!({ "text": "unwelcome" })).await.expect(200);
    ada.delete(&format!("{path}/{kept}")).await.expect(204);
    let answers = calls(
        &ada,
        json!([
            { "do": "create", "collection": "notes", "data": { "text": "unwelcome" } },
            { "do": "create", "collection": "notes", "data": { "text": "welcome" } },
            { "do": "create", "collection": "notes", "data": { "text": "check: count" } },
        ]),
    );
    let answers = answers.await;
    assert_refused(&answers[0], "/text is not welcome");
    assert!(answers[1]["ok"].is_string());
    assert_refused(&answers[2], "Ok(1) notes");
    let texts = ada.rows(path).await;
    assert_eq!((texts.len(), &texts[0]["data"]["text"]), (1, &json!("welcome")));
    assert!(ada.log_of("probe").await.iter().any(|line| line.contains("the check panics")));
}

#[db_test]
async fn a_plugin_checks_the_writes_of_another_where_that_was_granted(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory", "probe"]).await;
    let ada = host.tenant("acme").await;
    ada.enable("inventory").await;
    let item = |sku: &str| json!({ "sku": sku, "name": "x" });
    let path = "/api/v1/apps/inventory/items";
    let first = ada.post(path, &item("BANNED")).await;
    let id = first.expect(201)["id"].as_str().unwrap().to_owned();
    ada.delete(&format!("{path}/{id}")).await.expect(204);
    ada.enable("probe").await;
    let refused = ada.post(path, &item("BANNED")).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/sku", "{refused:#}");
    ada.post(path, &item("FINE")).await.expect(201);
    let view = ada.get("/api/v1/installations/probe").await.expect(200);
    let is_other = |grant: &&Value| *grant != "inventory.items:check";
    let grants: Vec<&Value> = view["grants"].as_array().unwrap().iter().filter(is_other).collect();
    ada.post("/api/v1/installations", &json!({ "plugin": "probe", "grants": grants })).await.expect(201);
    ada.post(path, &item("BANNED")).await.expect(201);
}

#[db_test]
async fn a_guest_knows_what_is_left_of_its_limits(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let answers = calls(
        &ada,
        json!([
            { "do": "budget" },
            { "do": "create", "collection": "notes", "data": { "text": "one" } },
            { "do": "log", "text": "a line" },
            { "do": "budget" },
        ]),
    );
    let answers = answers.await;
    let left = |answer: &Value, name: &str| {
        let all = answer["ok"].as_array().unwrap();
        let one = all.iter().find(|one| one[0] == name).unwrap_or_else(|| panic!("{name} is missing: {answer}"));
        assert!(one[1].as_u64() <= one[2].as_u64(), "{one}");
        one[1].as_u64().unwrap()
    };
    let (before, after) = (&answers[0], &answers[3]);
    for (name, used) in [
        ("writes", 1),
        ("events", 0),
        ("jobs", 0),
        ("audit-entries", 0),
        ("fetches", 0),
        ("files", 0),
        ("host-calls", 3),
    ] {
        assert_eq!(left(before, name) - left(after, name), used, "{name}");
    }
    for name in ["write-bytes", "log-bytes", "lifted-bytes"] {
        assert!(left(before, name) > left(after, name), "{name}");
    }
    for name in ["wall-ms", "cpu-ms", "memory-bytes", "chain-depth"] {
        assert!(left(before, name) >= left(after, name) && left(after, name) > 0, "{name}");
    }
}

#[db_test]
async fn of_every_sort_of_effect_all_stay_or_none(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let everything = |name: &str| {
        json!([
            { "do": "create", "collection": "effects", "data": { "key": name } },
            { "do": "publish", "type": "probe.idle", "subject": name, "data": {} },
            { "do": "enqueue", "kind": "probe.echo", "payload": { "of": name } },
            { "do": "audit", "action": "probe.script.ran", "changes": { "of": name } },
            { "do": "put", "key": name, "text": name },
            { "do": "progress", "percent": 50 },
        ])
    };
    let traces = async || {
        ada.settle().await;
        [
            ada.rows("/api/v1/apps/probe/effects").await.len(),
            ada.rows("/api/v1/events?filter[type]=probe.idle").await.len(),
            ada.rows("/api/v1/jobs?filter[kind]=probe.echo").await.len(),
            ada.rows("/api/v1/audit-logs?filter[action]=probe.script.ran").await.len(),
            ada.rows("/api/v1/installations/probe/files").await.len(),
        ]
    };
    for then in ["fail", "panic", "spin"] {
        let job = ada.run("probe.script", json!({ "calls": everything(then), "then": then })).await;
        assert_eq!(job["state"], "dead", "{job:#}");
    }
    for then in ["fail", "panic", "spin"] {
        let answer = ada.post(SCRIPT, &json!({ "calls": everything(then), "then": then })).await;
        assert!(answer.status >= 400, "{}", answer.body);
    }
    assert_eq!(traces().await, [0; 5]);
    let job = ada.run("probe.script", json!({ "calls": everything("good"), "then": "end" })).await;
    assert_eq!((&job["state"], &job["progress"]), (&json!("succeeded"), &json!(50)), "{job:#}");
    assert_eq!(traces().await, [1; 5]);
}
