//! Two hosts on one database: what is taken away at one ends at the other.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Database, Host, Options, skipped};

/// Two hosts on one PostgreSQL, which share the master key as such hosts must.
async fn pair(options: Options) -> Option<(Host, Host)> {
    let Some(database) = Database::postgres().await else {
        skipped("PostgreSQL");
        return None;
    };
    let twin = database.twin();
    let first = Host::start_with(database, options.clone()).await;
    let twin = twin.with_key_of(&first.database);
    let second = Host::start_with(twin, options).await;
    Some((first, second))
}

/// How long until this is refused there.
async fn refused_after(client: &Client, path: &str, status: u16) -> Duration {
    let began = Instant::now();
    loop {
        let answer = client.get(path).await;
        if answer.status == status {
            return began.elapsed();
        }
        assert_eq!(answer.status, 200);
        assert!(began.elapsed() < Duration::from_secs(20), "{path} is still answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ends_elsewhere(bus: bool) {
    let mut options = Options::default();
    if bus {
        let url = std::env::var("PURLIN_TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
        options = options.set("REDIS_URL", url);
    }
    let Some((here, there)) = pair(options).await else { return };
    let ada = here.tenant("acme").await;
    let bob = here.member(&ada, "bob@acme.example", &["viewer"]).await;
    let roles = ada.rows("/api/v1/roles?filter[name]=viewer").await;
    let role =
        format!("/api/v1/users/{}/roles/{}", bob.me["user"]["id"].as_str().unwrap(), roles[0]["id"].as_str().unwrap());
    let bob_there = bob.at(&there.base);
    bob_there.get("/api/v1/jobs").await.expect(200);
    ada.delete(&role).await.expect(204);
    assert_eq!(bob.get("/api/v1/jobs").await.status, 403, "here at once");
    let of_role = refused_after(&bob_there, "/api/v1/jobs", 403).await;
    let eve = here.member(&ada, "eve@acme.example", &["viewer"]).await;
    let eve_there = eve.at(&there.base);
    eve_there.get("/api/v1/jobs").await.expect(200);
    eve.post("/api/v1/auth/logout", &json!({})).await.expect(204);
    let of_logout = refused_after(&eve_there, "/api/v1/jobs", 401).await;
    let ada_there = ada.at(&there.base);
    ada_there.get("/api/v1/jobs").await.expect(200);
    here.suspend(&ada).await;
    assert_eq!(ada.get("/api/v1/jobs").await.status, 401, "here at once");
    let of_tenant = refused_after(&ada_there, "/api/v1/jobs", 401).await;
    crate::support::measured!(
        "elsewhere, {}: role {of_role:?}, logout {of_logout:?}, tenant {of_tenant:?}",
        if bus { "with a bus" } else { "without" }
    );
    assert!([of_role, of_logout, of_tenant].iter().all(|took| *took <= Duration::from_secs(5)), "within five seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_here_ends_elsewhere_within_five_seconds_with_a_bus() {
    ends_elsewhere(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_here_ends_elsewhere_within_five_seconds_without_one() {
    ends_elsewhere(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_host_is_good_at_the_other_and_a_key_made_there_is_known_here() {
    let Some((here, there)) = pair(Options::default()).await else { return };
    let ada = here.tenant("acme").await;
    ada.at(&there.base).get("/api/v1/users/me").await.expect(200);
    let refresh = json!({ "refresh_token": ada.me["refresh_token"] });
    there.anonymous().post("/api/v1/auth/refresh", &refresh).await.expect(200);
    let jwks = async |host: &Host| host.anonymous().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(jwks(&here).await, jwks(&there).await);
}

/// A rate is one rate on all hosts while there is a bus, and no rate is ever open without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_shared_by_hosts_and_holds_without_redis_too() {
    let Some(redis) = crate::support::Redis::start().await else { return skipped("redis-server") };
    let options = Options::default().set("REDIS_URL", &redis.url).set("PURLIN_AUTH_REQUESTS_PER_MINUTE", "6");
    let Some((here, there)) = pair(options).await else { return };
    let guess = async |host: &Host, n: usize| {
        let login = json!({ "email": format!("u{n}@x.example"), "password": "wrong horse battery" });
        host.anonymous().post("/api/v1/auth/login", &login).await.status
    };
    let mut answered = 0;
    for n in 0..12 {
        let host = if n % 2 == 0 { &here } else { &there };
        answered += usize::from(guess(host, n).await == 401);
    }
    assert!((6..=8).contains(&answered), "six and what comes anew meanwhile, on both together: {answered}");
    drop(redis);
    for host in [&here, &there] {
        let mut answered = 0;
        for n in 0..12 {
            answered += usize::from(guess(host, 100 + n).await == 401);
        }
        assert!((1..=8).contains(&answered), "each counts for itself: {answered}");
        assert_eq!(guess(host, 200).await, 429);
    }
}
