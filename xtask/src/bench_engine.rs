//! `cargo xtask bench engine`: what the engine of jobs does, on both databases, with what the
//! database does by itself beside it. The host is built with optimisations.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    client::{Client, text},
    fuzz::with_database,
    host::Host,
    plugins, private, shell,
    test::Services,
};

const BURST: usize = 20_000;
const SINGLE: usize = 1_000;
const EFFECTS: usize = 20_000;
const ROUNDS: usize = 3;
const PICK_UPS: usize = 300;
const BATCH: usize = 100;
/// While a burst runs.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
const BACKLOG: usize = 1_000_000;
const BLOCKED: usize = 100_000;
/// What psql says when it has answered.
const END: &str = "--end--";

pub fn run() -> Result<()> {
    let components = plugins::build(&["probe".to_owned()])?;
    let probe = components.into_iter().next().context("the probe was not built")?.1;
    shell::step("building the host with optimisations");
    shell::run(shell::cargo().args(["build", "--release", "--package", "purlin"]))?;
    let services = Services::find()?;
    println!("\n{}", machine());
    over("SQLite", &probe, None)?;
    match services.postgres.clone() {
        Some(server) => with_database(&server, |url| over("PostgreSQL", &probe, Some(&url)))?,
        None => println!("NOT MEASURED: PostgreSQL is not here"),
    }
    services.report()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{cores} cores, shared by load, host and database")
}

/// A host with a tenant, and its administrator.
struct Bench {
    client: Client,
    tenant: String,
    metrics: String,
    url: Option<String>,
    psql: Option<RefCell<Psql>>,
}

/// One session past the host, so that looking costs next to nothing.
struct Psql {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Psql {
    fn open(url: &str) -> Result<Self> {
        let mut psql = Command::new("psql");
        psql.args(["--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", url]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("psql")?;
        let input = child.stdin.take().context("psql takes no input")?;
        let output = BufReader::new(child.stdout.take().context("psql gives no output")?).lines();
        let mut psql = Self { child, input, output };
        psql.query("SET row_security = off; SET enable_seqscan = off")?;
        Ok(psql)
    }

    fn query(&mut self, statement: &str) -> Result<String> {
        writeln!(self.input, "{statement};\n\\echo {END}")?;
        let mut rows = Vec::new();
        for line in self.output.by_ref() {
            let line = line?;
            if line == END {
                return Ok(rows.join("\n"));
            }
            rows.push(line);
        }
        bail!("psql ended over: {statement}")
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn over(database: &str, probe: &Path, url: Option<&str>) -> Result<()> {
    shell::step(&format!("measuring on {database}"));
    let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let metrics = format!("127.0.0.1:{port}");
    let plans = json!({ "standard": {}, "free": {}, "unlimited": {} });
    let mut environment = vec![
        ("PURLIN_AUTH_REQUESTS_PER_MINUTE", "1000000".to_owned()),
        ("PURLIN_METRICS_LISTEN", metrics.clone()),
        ("PURLIN_PLANS", plans.to_string()),
        ("PURLIN_LOG", "warn".to_owned()),
    ];
    environment.extend(url.map(|url| ("DATABASE_URL", url.to_owned())));
    let binary: PathBuf = shell::target().join("release/purlin");
    let host = Host::start(&binary, &directory, &environment)?;
    host.operator()?.upload("/api/v1/plugins", &fs::read(probe)?)?.expect(201)?;
    let (client, registered) = host.tenant("bench")?;
    client.post("/api/v1/installations", &json!({ "plugin": "probe", "grants": "all" }))?.expect(201)?;
    let tenant = text(&registered, "/tenant/id")?;
    let psql = url.map(Psql::open).transpose()?.map(RefCell::new);
    let bench = Bench { client, tenant, metrics, url: url.map(str::to_owned), psql };
    let measured = bench.measure();
    host.stop()?;
    drop(fs::remove_dir_all(&directory));
    measured
}

impl Bench {
    fn measure(&self) -> Result<()> {
        // On tables that were never analysed.
        let (enqueued, fresh) = self.burst("ping", BURST)?;
        println!("enqueued in batches of {BATCH}: {enqueued:.0} jobs/s");
        println!("native jobs, a fresh burst of {BURST}: {fresh:.0} jobs/s");
        self.sql("ANALYZE")?;
        let (_, steady) = self.burst("ping", BURST)?;
        println!("native jobs, again: {steady:.0} jobs/s; fresh {:.2} of it", fresh / steady);
        println!("enqueued one by one: {:.0} jobs/s", self.single()?);
        self.pick_up()?;
        let mut deliveries = self.deliveries()?;
        let delivery = median(&mut deliveries);
        println!("deliveries to a plugin, without effects: {delivery:.0}/s, the median of {}", rounded(&deliveries));
        self.effects()?;
        if self.url.is_some() {
            self.blocked()?;
            self.backlog()?;
        }
        Ok(())
    }

    /// In turns with what the database does by itself, since what else the machine does changes
    /// from minute to minute.
    fn effects(&self) -> Result<()> {
        let (mut handlers, mut inserts) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            handlers.push(self.burst("probe.effect", EFFECTS)?.1);
            if self.url.is_some() {
                inserts.push(self.pgbench()?);
            }
        }
        let handler = median(&mut handlers);
        println!("plugin handlers with one record write: {handler:.0}/s, the median of {}", rounded(&handlers));
        if !inserts.is_empty() {
            let insert = median(&mut inserts);
            println!("pgbench, insert and commit, 16 clients: {insert:.0}/s, the median of {}", rounded(&inserts));
            println!("handlers to inserts: {:.2}", handler / insert);
        }
        Ok(())
    }

    /// Enqueue so many while they are paused, then let them run; how fast both went.
    fn burst(&self, kind: &str, count: usize) -> Result<(f64, f64)> {
        self.client.post("/api/v1/job-pauses", &json!({ "kind": kind }))?.expect(201)?;
        let jobs: Vec<Value> = (0..BATCH).map(|n| json!({ "kind": kind, "payload": { "n": n } })).collect();
        let began = Instant::now();
        for _ in 0..count / BATCH {
            self.client.post("/api/v1/jobs/batch", &json!({ "jobs": jobs }))?.expect(202)?;
        }
        let enqueued = count as f64 / began.elapsed().as_secs_f64();
        // The audit log of all this is chained within a second; it is not what is measured.
        sleep(Duration::from_secs(2));
        Ok((enqueued, self.drain(kind, count)?))
    }

    fn drain(&self, kind: &str, count: usize) -> Result<f64> {
        let all = self.ended(kind)? + count as f64;
        let began = Instant::now();
        self.client.delete(&format!("/api/v1/job-pauses/*/{kind}"))?.expect(204)?;
        for _ in 0..60_000 {
            if self.ended(kind)? >= all {
                return Ok(count as f64 / began.elapsed().as_secs_f64());
            }
            sleep(LOOKED_EVERY);
        }
        bail!("jobs of the kind {kind} do not end")
    }

    /// Runs of this kind whose good end was written, as the host counts them: to ask the database
    /// would take a part of what is measured.
    fn ended(&self, kind: &str) -> Result<f64> {
        let kind = format!("kind=\"{kind}\"");
        let is_of = |line: &&str| line.contains(&kind) && line.contains("outcome=\"succeeded\"");
        let page = self.metrics("purlin_job_runs_total")?;
        Ok(page.lines().filter(is_of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The lines of a metric.
    fn metrics(&self, name: &str) -> Result<String> {
        let page = Client::new(&self.metrics).get("/metrics")?.expect(200)?;
        let lines = page.as_str().context("metrics are text")?.lines();
        Ok(lines.filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("\n"))
    }

    fn wait_until_none(&self, kind: &str) -> Result<()> {
        let open = format!("/api/v1/jobs?filter[kind]={kind}&filter[state][in]=ready,running&page[size]=1");
        for _ in 0..1_000 {
            if self.client.get(&open)?.expect(200)?["data"].as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            sleep(Duration::from_millis(200));
        }
        bail!("jobs of the kind {kind} do not end")
    }

    fn single(&self) -> Result<f64> {
        let began = Instant::now();
        for n in 0..SINGLE {
            self.client.post("/api/v1/jobs", &json!({ "kind": "ping", "payload": { "n": n } }))?.expect(202)?;
        }
        let rate = SINGLE as f64 / began.elapsed().as_secs_f64();
        self.wait_until_none("ping")?;
        Ok(rate)
    }

    /// From the call that enqueues until the run begins, on an idle system, as the host's own
    /// histogram has it.
    fn pick_up(&self) -> Result<()> {
        let before = self.waits()?;
        for n in 0..PICK_UPS {
            self.client.post("/api/v1/jobs", &json!({ "kind": "ping", "payload": { "n": n } }))?.expect(202)?;
            sleep(Duration::from_millis(15));
        }
        self.wait_until_none("ping")?;
        let counted: Vec<(f64, f64)> =
            self.waits()?.iter().zip(&before).map(|((le, after), (_, before))| (*le, after - before)).collect();
        let all = counted.last().map_or(0.0, |(_, count)| *count);
        let quantile = |q: f64| {
            let mut lower = (0.0, 0.0);
            for (le, count) in &counted {
                if *count >= q * all {
                    return (lower.0 + (le - lower.0) * (q * all - lower.1) / (count - lower.1)) * 1_000.0;
                }
                lower = (*le, *count);
            }
            f64::NAN
        };
        println!("pick-up on an idle system: p50 {:.2} ms, p99 {:.2} ms, of {all}", quantile(0.5), quantile(0.99));
        Ok(())
    }

    /// The cumulated buckets of how long jobs of the kind `ping` waited.
    fn waits(&self) -> Result<Vec<(f64, f64)>> {
        let text = self.metrics("purlin_job_wait_seconds_bucket")?;
        let parse = |line: &str| -> Option<(f64, f64)> {
            let le = line.split("le=\"").nth(1)?.split('"').next()?;
            let count = line.rsplit(' ').next()?.parse().ok()?;
            Some((le.parse().unwrap_or(f64::INFINITY), count))
        };
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (le, count) in text.lines().filter(|line| line.contains("kind=\"ping\"")).filter_map(parse) {
            // Of each plan and queue there are buckets.
            match buckets.iter_mut().find(|(known, _)| *known == le) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((le, count)),
            }
        }
        Ok(buckets)
    }

    fn deliveries(&self) -> Result<Vec<f64>> {
        let event = json!({ "type": "probe.idle", "data": {} });
        for _ in 0..BURST / 20 {
            self.client.post("/api/v1/events", &event)?.expect(201)?;
        }
        self.wait_until_none("core.deliver")?;
        let all = json!({ "since": "2026-01-01T00:00:00Z", "event_type": "probe.idle", "plugin": "probe" });
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            self.client.post("/api/v1/job-pauses", &json!({ "kind": "core.deliver" }))?.expect(201)?;
            for _ in 0..20 {
                self.client.post("/api/v1/events/replay", &all)?.expect(202)?;
            }
            self.wait_until_none("replay_events")?;
            rates.push(self.drain("core.deliver", BURST)?);
        }
        Ok(rates)
    }

    /// A lane of very many jobs whose head does not run, beside other jobs.
    fn blocked(&self) -> Result<()> {
        // Right before it: what else the machine does changes from minute to minute.
        let (_, steady) = self.burst("ping", BURST)?;
        self.client.post("/api/v1/job-pauses", &json!({ "kind": "probe.sleep" }))?.expect(201)?;
        self.insert(
            "probe.sleep",
            "probe",
            BLOCKED,
            "CASE WHEN n = 1 THEN 'ready' ELSE 'waiting' END",
            "'probe/lane'",
        )?;
        let (_, beside) = self.burst("ping", BURST)?;
        println!(
            "native jobs beside {BLOCKED} behind one ordering key: {beside:.0} jobs/s, {:.2} of before",
            beside / steady
        );
        self.sql("DELETE FROM jobs WHERE kind = 'probe.sleep'")
    }

    /// Jobs that end while very many are queued.
    fn backlog(&self) -> Result<()> {
        let (_, steady) = self.burst("ping", BURST)?;
        self.client.post("/api/v1/job-pauses", &json!({ "kind": "ping" }))?.expect(201)?;
        self.insert("ping", "core", BACKLOG, "'ready'", "NULL")?;
        let (before, began) = (self.ended("ping")?, Instant::now());
        self.client.delete("/api/v1/job-pauses/*/ping")?.expect(204)?;
        sleep(Duration::from_secs(6));
        let rate = (self.ended("ping")? - before) / began.elapsed().as_secs_f64();
        println!("native jobs with {BACKLOG} queued: {rate:.0} jobs/s, {:.2} of before", rate / steady);
        self.client.post("/api/v1/job-pauses", &json!({ "kind": "ping" }))?.expect(201).map(drop)
    }

    fn insert(&self, kind: &str, plugin: &str, count: usize, state: &str, lane: &str) -> Result<()> {
        // As the host makes ids: by time, a hundred in a millisecond.
        let millis = "lpad(to_hex(CAST(extract(epoch FROM now()) * 1000 AS bigint) + n / 100), 12, '0')";
        let begin = format!("overlay({millis} PLACING '-' FROM 9 FOR 0) || '-7'");
        let id = format!("CAST(overlay(CAST(gen_random_uuid() AS text) PLACING {begin} FROM 1 FOR 15) AS uuid)");
        self.sql(&format!(
            "INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease,
                ordering_key, root_id, depth, created_at, updated_at)
             SELECT '{}', {id}, '{kind}', '{plugin}', '{{\"n\": 1}}', {state}, now(), 0, 3, 0, 0, {lane},
                gen_random_uuid(), 0, now(), now() FROM generate_series(1, {count}) n",
            self.tenant
        ))?;
        // What writing them left to be done is not what is measured.
        self.sql("CHECKPOINT")
    }

    fn sql(&self, statement: &str) -> Result<()> {
        self.query(statement).map(drop)
    }

    /// As the owner of the tables, past the host. Nothing on the embedded database.
    fn query(&self, statement: &str) -> Result<String> {
        self.psql.as_ref().map_or(Ok(String::new()), |psql| psql.borrow_mut().query(statement))
    }

    fn pgbench(&self) -> Result<f64> {
        self.sql("SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS bench_rows (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb NOT NULL)")?;
        let script = std::env::temp_dir().join(format!("purlin-bench-{}.sql", private::random()?));
        fs::write(&script, "INSERT INTO bench_rows (data) VALUES ('{\"key\": \"x\", \"n\": 1}');\n")?;
        let url = self.url.as_deref().unwrap_or_default();
        let mut pgbench = Command::new(pgbench_program());
        // As the host does on the loopback interface.
        pgbench.env("PGSSLMODE", "disable");
        pgbench.args(["-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", "6", "-f"]).arg(&script).arg(url);
        let told = shell::output(&mut pgbench)?;
        drop(fs::remove_file(script));
        let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench tells its rate")?;
        Ok(tps.split(' ').next().unwrap_or_default().parse()?)
    }
}

/// Of an odd number of figures.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(figures: &[f64]) -> String {
    figures.iter().map(|figure| format!("{figure:.0}")).collect::<Vec<_>>().join(", ")
}

/// Debian keeps it in a folder of its version.
fn pgbench_program() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin/pgbench")).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from("pgbench"))
}
