//! Redis only hints: with it jobs start at once, without it they start at the next poll.

use std::{process::Stdio, time::Duration};

use purlin_test_macros::db_test;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use crate::support::{Database, Host, Options, skipped};

/// A Redis of this test's own.
struct Redis {
    child: std::process::Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let child = std::process::Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { child, port, _directory: directory };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(redis);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("redis does not start");
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn say(&self, command: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[db_test]
async fn a_hint_from_the_bus_starts_a_job_that_no_poll_would_find(database: Database) {
    let Some(redis) = Redis::start().await else { return skipped("Redis") };
    let options = Options::default().set("REDIS_URL", redis.url()).set("PURLIN_POLL_MS", 600_000);
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    assert_eq!(ada.run("probe.echo", json!(1)).await["state"], "succeeded", "its own hint wakes it");
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo", "delay_ms": 3_600_000 })).await.expect(202);
    // As another host would: it says nothing to this one.
    host.database.execute("UPDATE jobs SET state = 'ready', run_at = created_at WHERE state = 'scheduled'").await;
    sleep(Duration::from_millis(1_200)).await;
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(ada.get(&path).await.expect(200)["state"], "ready");
    redis.say("PUBLISH purlin:wake x").await;
    assert_eq!(ada.wait_for_job(job["id"].as_str().unwrap()).await["state"], "succeeded");
}

#[db_test]
async fn without_redis_nothing_is_lost_but_time(database: Database) {
    let Some(mut redis) = Redis::start().await else { return skipped("Redis") };
    let host = Host::start_with(database, Options::default().set("REDIS_URL", redis.url())).await;
    let ada = host.tenant_with("acme", "probe").await;
    assert_eq!(host.anonymous().get("/health").await.expect(200)["checks"]["bus"], "ok");
    redis.say("FLUSHALL").await;
    assert_eq!(ada.run("probe.echo", json!(1)).await["state"], "succeeded");
    redis.stop();
    assert_eq!(ada.run("probe.echo", json!(2)).await["state"], "succeeded");
    let health = host.anonymous().get("/health").await.expect(200);
    assert_eq!((&health["status"], &health["checks"]["bus"]), (&json!("ok"), &json!("unavailable")));
}

#[db_test]
async fn while_redis_is_away_sign_ins_ask_it_once_a_second_and_say_so_once(database: Database) {
    let Some(mut redis) = Redis::start().await else { return skipped("Redis") };
    let host = Host::start_with(database, Options::default().set("REDIS_URL", redis.url())).await;
    host.tenant("acme").await;
    redis.stop();
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery", "tenant": "acme" });
    for _ in 0..10 {
        host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    }
    let told = host.log().matches("the bus is away").count();
    assert_eq!(told, 1, "{}", host.log());
}
