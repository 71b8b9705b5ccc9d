//! Faults beside a ledger: whatever is killed, stopped or taken away, what was acknowledged
//! happens once.

use std::time::{Duration, Instant};

use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Client, Database, Host, Ledger, Options, Postgres, Redis, figure, measured, skipped};

/// A host under which nothing is lost, with its administrator.
async fn start(database: Database, options: Options) -> (Host, Client) {
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    (host, ada)
}

#[db_test]
async fn killed_again_and_again_at_any_moment_each_job_has_one_effect(database: Database) {
    let kills = figure(5, 200);
    let (mut host, mut ada) = start(database, Options::default()).await;
    let (mut ledger, mut random) = (Ledger::default(), StdRng::seed_from_u64(9));
    for _ in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.random_range(20..400));
        while Instant::now() < until {
            ledger.ask(&ada, random.random_range(0..60)).await;
        }
        host.kill();
        host.restart(Options::default()).await;
        ada = ada.at(&host.base);
    }
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
    assert!(ledger.acknowledged() > kills);
    measured!("{kills} kills: {} acknowledged jobs, each with one effect", ledger.acknowledged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarted_at_once_costs_503_for_a_moment_and_nothing_else() {
    let Some(postgres) = Postgres::start() else { return skipped("a PostgreSQL of its own") };
    let restarts = figure(3, 20);
    let (host, ada) = start(Database::on(&postgres.url), Options::default()).await;
    let (mut ledger, mut worst) = (Ledger::default(), Duration::ZERO);
    for _ in 0..restarts {
        for _ in 0..10 {
            assert_eq!(ledger.ask(&ada, 5).await, Some(202));
        }
        let postgres = &postgres;
        let went = Instant::now();
        std::thread::scope(|scope| scope.spawn(|| postgres.restart()).join()).unwrap();
        loop {
            match ledger.ask(&ada, 5).await {
                Some(202) => break,
                Some(503) => sleep(Duration::from_millis(20)).await,
                other => panic!("only 503 meanwhile, not {other:?}"),
            }
            assert!(went.elapsed() < Duration::from_secs(60), "it does not heal");
        }
        worst = worst.max(went.elapsed());
    }
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
    assert!(worst <= Duration::from_secs(10), "{worst:?}");
    measured!(
        "{restarts} restarts: only 503 meanwhile, healed after {worst:?} at worst, {} jobs each with one effect",
        ledger.acknowledged()
    );
    drop(host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_at_any_moment_lose_nothing() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let (host, ada) = start(database, Options::default()).await;
    let mut ledger = Ledger::default();
    let rounds = figure(10, 100);
    for _ in 0..rounds {
        for _ in 0..10 {
            let answered = ledger.ask(&ada, 5).await;
            assert!(matches!(answered, Some(202 | 503)), "{answered:?}");
        }
        host.database
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5",
            )
            .await;
    }
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
    measured!("{rounds} rounds of ended connections: {} jobs each with one effect", ledger.acknowledged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_holds_what_is_to_be_claimed_delays_it_and_loses_nothing() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    // So few connections that its own work waits for them too.
    let (host, ada) = start(database, Options::default().set("PURLIN_DATABASE_CONNECTIONS", 2)).await;
    let mut ledger = Ledger::default();
    ada.post("/api/v1/job-pauses", &json!({ "kind": "probe.effect" })).await.expect(201);
    for _ in 0..40 {
        ledger.ask(&ada, 1).await;
    }
    let hold = host.database.execute("BEGIN; SELECT * FROM jobs FOR UPDATE; SELECT pg_sleep(4); COMMIT");
    let resume = async {
        sleep(Duration::from_millis(300)).await;
        ada.delete("/api/v1/job-pauses/*/probe.effect").await.expect(204);
        for _ in 0..40 {
            ledger.ask(&ada, 1).await;
        }
    };
    tokio::join!(hold, resume);
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
    assert_eq!(ledger.acknowledged(), 80);
}

/// A host that stands still past its leases, and then goes on, finds that its jobs are
/// somebody else's: what it did meanwhile does not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stood_still_past_its_leases_does_nothing_twice() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let twin = database.twin();
    let (first, ada) = start(database, Options::default()).await;
    let twin = twin.with_key_of(&first.database);
    let mut ledger = Ledger::default();
    let rounds = figure(1, 10);
    for _ in 0..rounds {
        for _ in 0..16 {
            assert_eq!(ledger.ask(&ada, 900).await, Some(202));
        }
        sleep(Duration::from_millis(250)).await;
        first.signal("STOP");
        // Another host comes, takes them, and does them.
        let second = Host::start(Database::on(first.database.url.as_ref().unwrap()).with_key_of(&twin)).await;
        let there = ada.at(&second.base);
        sleep(Duration::from_millis(6_500)).await;
        first.signal("CONT");
        there.settle().await;
        sleep(Duration::from_millis(1_500)).await;
        drop(second);
    }
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
    let jobs = ada.rows("/api/v1/jobs?filter[kind]=probe.effect&page[size]=200").await;
    let crashes: i64 = jobs.iter().map(|job| job["crashes"].as_i64().unwrap()).sum();
    assert!(crashes > 0, "none was taken from the host that stood still");
    measured!(
        "{rounds} times SIGSTOP past the lease: {crashes} jobs taken over, {} each with one effect",
        ledger.acknowledged()
    );
}

#[db_test]
async fn redis_flushed_stopped_or_slow_loses_nothing_and_opens_nothing(database: Database) {
    let Some(redis) = Redis::start().await else { return skipped("redis-server") };
    let options = Options::default().set("REDIS_URL", &redis.url).set("PURLIN_AUTH_REQUESTS_PER_MINUTE", "20");
    let (host, ada) = start(database, options).await;
    let mut ledger = Ledger::default();
    let guess = async |n: usize| {
        let login = json!({ "email": format!("u{n}@x.example"), "password": "wrong horse battery" });
        host.anonymous().post("/api/v1/auth/login", &login).await.status
    };
    for _ in 0..10 {
        assert_eq!(ledger.ask(&ada, 1).await, Some(202));
    }
    redis.say("FLUSHALL").await;
    for _ in 0..10 {
        assert_eq!(ledger.ask(&ada, 1).await, Some(202));
    }
    // It answers nobody for a while: counted here meanwhile.
    redis.say("DEBUG SLEEP 2").await;
    for _ in 0..10 {
        assert_eq!(ledger.ask(&ada, 1).await, Some(202));
    }
    drop(redis);
    for _ in 0..10 {
        assert_eq!(ledger.ask(&ada, 1).await, Some(202));
    }
    let mut refused = 0;
    for n in 0..40 {
        refused += usize::from(guess(n).await == 429);
    }
    assert!(refused >= 15, "a rate is never open: {refused}");
    assert_eq!(ledger.wrong(&ada).await, Vec::<String>::new());
}
