//! `cargo xtask bench audit`: whether the writers of one tenant wait for each other because
//! each of them adds to its audit log. The same number of writers change users, all of one
//! tenant and then each of a tenant of its own, in one run on PostgreSQL.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    client::{Client, text},
    fuzz::with_database,
    host::Host,
    private,
    test::{self, Services},
};

const WRITERS: usize = 16;
const MEASURED: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

pub fn run() -> Result<()> {
    // A ratio of one run: what is built matters less than that both halves run on it.
    test::build()?;
    let services = Services::find()?;
    let server = services.postgres.clone().context("this takes a PostgreSQL")?;
    with_database(&server, |url| {
        let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
        let environment = [("DATABASE_URL", url), ("PURLIN_AUTH_REQUESTS_PER_MINUTE", "1000000".to_owned())];
        let host = Host::start(&test::host(), &directory, &environment)?;
        let measured = measure(&host);
        host.stop()?;
        drop(std::fs::remove_dir_all(&directory));
        measured
    })
}

fn measure(host: &Host) -> Result<()> {
    let one = tenant(host, "one", WRITERS)?;
    let mut each = Vec::new();
    for n in 0..WRITERS {
        each.extend(tenant(host, &format!("each-{n}"), 1)?);
    }
    println!("{WRITERS} writers, {} s each, changes a second:", MEASURED.as_secs());
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (together, apart) = (changes(&one)?, changes(&each)?);
        let seconds = MEASURED.as_secs_f64();
        ratios.push(together as f64 / apart as f64);
        println!(
            "of one tenant {:.0}, each of its own {:.0}: ratio {:.2}",
            together as f64 / seconds,
            apart as f64 / seconds,
            together as f64 / apart as f64
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}; 1 means that nobody waits for anybody", ratios[ROUNDS / 2]);
    Ok(())
}

/// A tenant with so many users; a client and the user it is to change, for each.
fn tenant(host: &Host, slug: &str, users: usize) -> Result<Vec<(Client, String)>> {
    let (admin, registered) = host.tenant(slug)?;
    let token = text(&registered, "/access_token")?;
    let mut writers = Vec::new();
    for n in 0..users {
        let new = json!({ "email": format!("u{n}@{slug}.example") });
        let id = text(&admin.post("/api/v1/users", &new)?.expect(201)?, "/id")?;
        let mut client = Client::new(&host.address);
        client.sign_in(&token);
        writers.push((client, format!("/api/v1/users/{id}")));
    }
    Ok(writers)
}

/// How many changes these writers make in the time.
fn changes(writers: &[(Client, String)]) -> Result<u64> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter()
            .map(|(client, path)| {
                scope.spawn(|| -> Result<()> {
                    while !stop.load(Ordering::Relaxed) {
                        let n = count.fetch_add(1, Ordering::Relaxed);
                        client.patch(path, &json!({ "first_name": format!("N{n}") }))?.expect(200)?;
                    }
                    Ok(())
                })
            })
            .collect();
        thread::sleep(MEASURED);
        stop.store(true, Ordering::Relaxed);
        running.into_iter().try_for_each(|writer| match writer.join() {
            Ok(done) => done,
            Err(_) => anyhow::bail!("a writer panicked"),
        })
    })?;
    Ok(count.into_inner())
}
