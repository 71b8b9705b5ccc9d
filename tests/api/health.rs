use purlin_test_macros::db_test;

use crate::support::{Database, Host};

#[db_test]
async fn health_names_the_database_it_serves_from(database: Database) {
    let kind = if database.is_postgres() { "postgresql" } else { "sqlite" };
    let host = Host::start(database).await;
    let health = host.anonymous().get("/health").await.expect(200);
    assert_eq!(health["checks"]["database"], "ok");
    assert_eq!(health["checks"]["database_kind"], kind);
    host.anonymous().get("/health/live").await.expect(200);
}

#[db_test]
async fn an_unknown_path_and_an_unknown_method_are_problems(database: Database) {
    let host = Host::start(database).await;
    let client = host.anonymous();
    let answer = client.get("/api/v1/nothing").await;
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(answer.body["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!(answer.problem(404), "not_found");
    assert_eq!(client.delete("/health").await.problem(405), "method_not_allowed");
}

#[db_test]
async fn a_request_id_is_echoed_when_it_is_well_formed_and_made_when_not(database: Database) {
    let host = Host::start(database).await;
    let client = host.anonymous();
    let ask = |id: &'static str| client.request(reqwest::Method::GET, "/health").header("x-request-id", id);
    assert_eq!(client.send(ask("my-request-1")).await.headers["x-request-id"], "my-request-1");
    assert_ne!(client.send(ask("bad id;")).await.headers["x-request-id"], "bad id;");
}
