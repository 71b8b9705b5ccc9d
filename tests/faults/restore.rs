//! A database that is not what it was: restored into another cluster, or made a standby.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::time::sleep;

use crate::support::{Client, Database, Host, Options, Postgres, Redis, skipped};

async fn role(ada: &Client, name: &str) -> u16 {
    ada.post("/api/v1/roles", &json!({ "name": name, "permissions": [] })).await.status
}

/// Whether an event with this word comes to the stream of Redis.
async fn is_relayed(redis: &Redis, word: &str) -> bool {
    let bus = purlin_store::bus::Bus::open(&redis.url).unwrap();
    for _ in 0..300 {
        let entries = bus.entries("purlin:events", "", 1_000).await.unwrap();
        if entries.iter().any(|[_, _, event]| event.contains(word)) {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_dump_that_is_restored_into_a_new_cluster_publishes_and_relays_on() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let (Some(cluster), Some(redis)) = (Postgres::start(), Redis::start().await) else {
        return skipped("a PostgreSQL of one's own, or Redis");
    };
    let options = Options::default().set("REDIS_URL", &redis.url);
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant("acme").await;
    assert_eq!(role(&ada, "before-the-dump").await, 201);
    assert!(is_relayed(&redis, "before-the-dump").await);
    let response = ada.request(reqwest::Method::GET, "/api/v1/events/stream").send().await.unwrap();
    let mut bytes = response.bytes_stream();
    let first = futures_util::StreamExt::next(&mut bytes).await.unwrap().unwrap();
    let place = String::from_utf8_lossy(&first).trim().strip_prefix("id: ").unwrap().to_owned();
    drop(bytes);
    host.stop().await;
    // What a dump does not have: the roles, which belong to the cluster.
    let restored = Database::on(&cluster.url).with_key_of(&host.database);
    restored.execute("CREATE ROLE purlin_app NOLOGIN; CREATE ROLE purlin_platform NOLOGIN").await;
    cluster.restore(host.database.url.as_ref().unwrap());
    let host = Host::start_with(restored, options).await;
    assert!(host.log().contains("counts transactions anew"), "{}", host.log());
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let ada = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    assert_eq!(role(&ada, "after-the-dump").await, 201);
    assert!(is_relayed(&redis, "after-the-dump").await, "the relay goes on");
    // Whoever listened before goes on where they were.
    let request = ada.request(reqwest::Method::GET, "/api/v1/events/stream?type=role.*").header("last-event-id", place);
    let mut bytes = request.send().await.unwrap().bytes_stream();
    let mut heard = String::new();
    while !heard.contains("after-the-dump") {
        let next = tokio::time::timeout(Duration::from_secs(20), futures_util::StreamExt::next(&mut bytes)).await;
        heard.push_str(&String::from_utf8_lossy(&next.expect("the stream goes on").unwrap().unwrap()));
    }
    assert!(!heard.contains("before-the-dump"), "{heard}");
}

#[tokio::test]
async fn while_the_database_takes_no_writes_requests_are_told_to_come_back_and_then_served() {
    let Some(cluster) = Postgres::start() else { return skipped("a PostgreSQL of one's own") };
    let host = Host::start(Database::on(&cluster.url)).await;
    let ada = host.tenant("acme").await;
    let read_only = async |word: &str| {
        let mut conn = PgConnection::connect(&cluster.url).await.unwrap();
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {word}");
        raw_sql(AssertSqlSafe(set)).execute(&mut conn).await.unwrap();
        raw_sql("SELECT pg_reload_conf()").execute(&mut conn).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    };
    read_only("on").await;
    for n in 0..10 {
        assert_eq!(role(&ada, &format!("during {n}")).await, 503);
    }
    ada.get("/api/v1/roles").await.expect(200);
    read_only("off").await;
    for n in 0..20 {
        assert_eq!(role(&ada, &format!("after {n}")).await, 201);
    }
}
