//! Requests that are given up half-way, over a slow link to the database: no connection
//! serves the next caller as the last one's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use purlin_domain::id::TenantId;
use purlin_store::{Config, Db, roles, users};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Database, Host, figure, skipped};

/// A TCP proxy that waits before it passes anything on.
async fn slow_proxy(target: String, pause_us: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (target, pause_us) = (target.clone(), Arc::clone(&pause_us));
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await.unwrap();
                let (near, far) = (near.into_split(), far.into_split());
                let pass = |mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf| {
                    let pause_us = Arc::clone(&pause_us);
                    async move {
                        let mut buffer = vec![0; 16 << 10];
                        while let Ok(count @ 1..) = from.read(&mut buffer).await {
                            tokio::time::sleep(Duration::from_micros(pause_us.load(Ordering::Relaxed))).await;
                            if to.write_all(&buffer[..count]).await.is_err() {
                                break;
                            }
                        }
                    }
                };
                tokio::join!(pass(near.0, far.1), pass(far.0, near.1));
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_a_caller_who_gave_up_serves_the_next_one_clean() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let host = Host::start(database).await;
    let mut tenants = Vec::new();
    for slug in ["acme", "bolts"] {
        let client = host.tenant(slug).await;
        tenants.push(TenantId(client.me["tenant"]["id"].as_str().unwrap().parse().unwrap()));
    }
    let url = host.database.url.clone().unwrap();
    let (address, name) = url.trim_start_matches("postgres://postgres@").split_once('/').unwrap();
    let pause_us = Arc::new(AtomicU64::new(200));
    let port = slow_proxy(address.to_owned(), Arc::clone(&pause_us)).await;
    let proxied = Config::Postgres {
        url: format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable"),
        migrate_url: None,
        connections: 1,
        list_timeout: Duration::from_secs(30),
        allow_superuser: true,
    };
    let db = Db::open(&proxied).await.unwrap();
    let cancellations = figure(500, 10_000);
    let mut cancelled = 0;
    for n in 0..cancellations {
        let tenant = tenants[n % 2];
        let own = db.clone();
        let work = async move {
            let mut tx = if n % 3 == 0 { own.read(tenant).await? } else { own.write(tenant).await? };
            users::by_email(&mut tx, "admin@acme.example").await?;
            roles::id_by_name(&mut tx, "admin").await?;
            tx.commit().await
        };
        let within = Duration::from_micros(100 + (n as u64 * 37) % 4_000);
        if tokio::time::timeout(within, work).await.is_err() {
            cancelled += 1;
        }
        if n % 10 == 0 {
            // With no tenant of its own, or another one, nothing of the last is seen.
            let other = tenants[(n + 1) % 2];
            let mut tx = db.read(other).await.unwrap();
            let found = users::by_email(&mut tx, if n % 2 == 0 { "admin@acme.example" } else { "admin@bolts.example" })
                .await
                .unwrap();
            assert!(found.is_none(), "a dirty connection after {n} cancellations");
            drop(tx);
            let mut tx = db.write(TenantId(uuid::Uuid::nil())).await.unwrap();
            assert!(roles::id_by_name(&mut tx, "admin").await.unwrap().is_none());
        }
    }
    crate::support::measured!("{cancelled} of {cancellations} uses cancelled half-way: 0 dirty connections");
    assert!(cancelled * 4 > cancellations, "{cancelled}");
    pause_us.store(0, Ordering::Relaxed);
    db.close().await;
}
