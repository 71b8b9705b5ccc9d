//! `cargo xtask prove`: the promises of docs/promises.md, each in its full size, and what
//! was measured.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{fuzz, shell, test};

/// A promise: its name, what is promised, and the tests that prove it.
struct Row {
    name: &'static str,
    figure: &'static str,
    proof: Proof,
}

/// How a promise is proven.
enum Proof {
    /// By the tests that pass this nextest filter.
    Tests(&'static str),
    /// The same with the host as it is released.
    Released(&'static str),
    /// By `cargo xtask fuzz`.
    Fuzz,
    /// Not at all: it is not built yet.
    NotBuilt,
}

const fn row(name: &'static str, figure: &'static str, tests: &'static str) -> Row {
    Row { name, figure, proof: Proof::Tests(tests) }
}

const fn released(name: &'static str, figure: &'static str, tests: &'static str) -> Row {
    Row { name, figure, proof: Proof::Released(tests) }
}

const fn not_built(name: &'static str, figure: &'static str) -> Row {
    Row { name, figure, proof: Proof::NotBuilt }
}

const ROWS: &[Row] = &[
    row(
        "tenant isolation",
        "0 leaks over every table × verb × {own, other, unset}, 100 tenants over HTTP, 100,000 random operations",
        "test(security::isolation) | test(security::crowd) | test(security::coverage) | test(every_table_and_verb)",
    ),
    row(
        "RLS is on",
        "every tenant table FORCE + USING + WITH CHECK; the serving role neither owner nor superuser nor BYPASSRLS; the tenant in every key and reference; refused at start otherwise",
        "test(row_security)",
    ),
    row(
        "the suite can fail",
        "every mutant of a policy or of a tenant predicate is caught",
        "test(security::mutants) | test(every_table_and_verb)",
    ),
    row(
        "pool hygiene",
        "0 dirty connections after 10,000 cancellations",
        "test(faults::pool) | test(dropped_half_way)",
    ),
    row(
        "every operation authorised",
        "every operation of the table × {no token, expired, forged, other tenant, low role}",
        "test(security::coverage)",
    ),
    row(
        "no way around it",
        "keys, invitations, domains, sign-ins under way, second factors: nobody becomes who may do more",
        "test(security::takeover) | test(nobody_grants) | test(last_administrator)",
    ),
    row(
        "no privilege escalation",
        "a token alone, a narrow key, a low user: every path that widens authority refused, and open to who may",
        "test(security::crossings) | test(security::takeover) | test(security::accounts)",
    ),
    row(
        "injection",
        "SQL in every filter, sort, cursor, search and path changes nothing and gets 400, 403 or 404; as the value of a text field it finds nothing",
        "test(security::injection)",
    ),
    row(
        "tokens",
        "60 or more forged or damaged JWTs refused; refresh reuse ends the family 100 of 100; 50 parallel refreshes, one lineage",
        "test(security::tokens) | test(auth::sessions)",
    ),
    row(
        "login flood",
        "2 hashes at once; other requests p99 within 100 ms under 200 parallel sign-ins",
        "test(very_many_sign_in)",
    ),
    row(
        "brute force",
        "rates with Retry-After, shared by hosts, never open; who guesses is slowed, the owner gets in",
        "test(asks_too_often) | test(trusted_proxy) | test(guesses_at_an_account) | test(a_rate_is_shared)",
    ),
    row(
        "revocation elsewhere",
        "a role, a session or a tenant that ends here ends on other hosts within 5 s",
        "test(faults::replicas)",
    ),
    row(
        "slow sockets",
        "1,000 half-sent requests of five kinds closed within 10 s, others served meanwhile",
        "test(half_sent_requests)",
    ),
    row(
        "audit",
        "one row a mutation, in its transaction; 1,000 of 1,000 edits, deletions, reorderings and cuts found",
        "test(audit_chain) | test(one_row_in_its_transaction)",
    ),
    row(
        "audit retention integrity",
        "what was moved, edited or given another plan is not cut, and is found; the checkpoint kept apart is compared",
        "test(audit_chain) & test(/retention|kept_apart|cut|evidence|plan_that/)",
    ),
    row(
        "database parity",
        "10,000 requests made up from the OpenAPI document answered the same on both databases; random typed lists as an oracle says",
        "test(parity) | test(plugins::queries)",
    ),
    released(
        "resource fairness",
        "beside searches and password hashes of one tenant a neighbour's reads p99 within 3 × alone or 50 ms, median of 5 runs, no 503",
        "test(security::fairness)",
    ),
    row("migrations", "up, down and up again, also on a filled database", "test(store::) & test(migrations)"),
    row(
        "the engine, on both databases",
        "the same suite and the same random histories on both; each known way of losing a job a test; the oracle fails without the fence",
        "test(/^engine::/)",
    ),
    row(
        "kill -9",
        "200 kills: each acknowledged job has one effect; at three named points nothing is left or doubled; a job that kills its worker ends",
        "test(faults::kill) | test(killed_again_and_again)",
    ),
    row(
        "Postgres restarted",
        "20 × immediate: only 503 meanwhile, healed within 10 s, each acknowledged job has one effect; so with connections that end at random",
        "test(postgres_restarted_at_once) | test(connections_that_end) | test(a_session_that_holds)",
    ),
    row(
        "a host that stands still",
        "SIGSTOP past the lease, then SIGCONT: its jobs are another's, and happen once",
        "test(stood_still)",
    ),
    row(
        "Redis lost",
        "flushed, stopped, slow: 0 fail-open decisions, nothing lost",
        "test(faults::bus) | test(redis_flushed) | test(a_rate_is_shared)",
    ),
    row(
        "fair between tenants",
        "50,000 slow jobs of one tenant; 20 others with one a second wait 3 slots at p99, and the one uses what is spare",
        "test(faults::fair)",
    ),
    row("SIGTERM", "what runs ends first, no job lost (short form only)", "test(faults::stop)"),
    Row {
        name: "API fuzz",
        figure: "0 answers of 5xx in 50,000 requests made up from the OpenAPI document",
        proof: Proof::Fuzz,
    },
    row(
        "plugin stopped in time",
        "CPU limit + 20 ms p99 over 1,000 endless loops, also in start functions, realloc and after the end",
        "test(security::hostile)",
    ),
    row(
        "plugin memory",
        "64 MiB summed; RSS back to baseline + 64 MiB within 5 s of the corpus × 1,000",
        "test(security::hostile)",
    ),
    row(
        "host survives plugins",
        "0 panics or exits: 40 or more hostile components × 1,000, every function of the host misused",
        "test(security::hostile)",
    ),
    row(
        "neighbours",
        "reads p99 within 250 ms, and 90 % of its jobs done, beside 8 plugins that run away",
        "test(faults::neighbours)",
    ),
    row(
        "schema cost bounds",
        "a schema or pattern without bounds refused at upload, a document before it is looked at; the worst that are accepted within 250 ms (release build)",
        "test(/schema::/) | test(security::hostile)",
    ),
    row(
        "no SSRF",
        "0 connections to sentinels over 200 or more spellings, redirects",
        "test(no_spelling_of_an_inner_address) | test(plugins::contract) & test(/reaches/)",
    ),
    not_built("overload ×5", "goodput 80 % of peak"),
    not_built("disk full", "507 or 503, no corruption"),
    not_built("backup", "restore equals, the audit chain verifies"),
];

/// Where the last full run is told.
const DOCUMENT: &str = "docs/promises.md";

pub fn run(only: Option<&str>) -> Result<()> {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| only.is_none_or(|name| row.name.contains(name))).collect();
    if rows.is_empty() {
        bail!("there is no such promise; they are: {}", ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", "));
    }
    let guests = test::build()?;
    let services = test::Services::find()?;
    let unproven = |row: &&Row| match row.proof {
        Proof::NotBuilt => "not built yet".to_owned(),
        _ => "not reached by this run".to_owned(),
    };
    let mut measured: Vec<String> = rows.iter().map(unproven).collect();
    let mut broken = Vec::new();
    let mut proven: HashMap<&str, (bool, String)> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        let (passed, figure) = match row.proof {
            Proof::NotBuilt => continue,
            Proof::Tests(tests) | Proof::Released(tests) => {
                shell::step(row.name);
                // Promises of the same tests share a run of them.
                match proven.get(tests) {
                    Some(known) => Clone::clone(known),
                    None => {
                        let is_released = matches!(row.proof, Proof::Released(_));
                        let host = if is_released { released_host()? } else { test::host() };
                        let found = prove(&guests, &services, &host, tests)?;
                        proven.insert(tests, found.clone());
                        found
                    }
                }
            }
            Proof::Fuzz => {
                shell::step(row.name);
                match fuzz::long(&services) {
                    Ok(Some(cases)) => {
                        (true, format!("{cases} requests on {}, 0 answers of 5xx", services.databases()))
                    }
                    Ok(None) => (false, "not run: there is no schemathesis here".to_owned()),
                    Err(error) => {
                        println!("{error:#}");
                        (false, "failed".to_owned())
                    }
                }
            }
        };
        println!("{figure}");
        if !passed {
            broken.push(row.name);
        }
        measured[place] = figure;
        if only.is_none() {
            // After each, so that a run that is cut short tells what it found.
            write_down(&table(&rows, &measured)?)?;
        }
    }
    println!("\n{}", table(&rows, &measured)?);
    services.report()?;
    if broken.is_empty() { Ok(()) } else { bail!("broken: {}", broken.join(", ")) }
}

fn table(rows: &[&Row], measured: &[String]) -> Result<String> {
    let mut table = String::from("| promise | figure | measured |\n| --- | --- | --- |\n");
    for (row, measured) in rows.iter().zip(measured) {
        writeln!(table, "| {} | {} | {measured} |", row.name, row.figure)?;
    }
    Ok(table)
}

/// Run the tests of one promise in full size; whether they passed, and what they measured.
/// The host as it is released.
fn released_host() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "purlin"]))?;
    Ok(shell::target().join("release/purlin"))
}

fn prove(guests: &test::Guests, services: &test::Services, host: &Path, tests: &str) -> Result<(bool, String)> {
    let mut command = test::nextest()?;
    command
        .args(["--success-output", "immediate", "--failure-output", "immediate", "--color", "never"])
        .args(guests.selection())
        // Figures in full size take longer than a test usually may.
        .args(["--config-file", ".config/nextest.toml", "--profile", "prove", "-E", tests])
        .env("PURLIN_PROVE", "full");
    guests.equip(&mut command, host)?;
    services.tell(&mut command);
    let output = command.output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut told: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some((_, measured)) = line.split_once("measured by ") {
            let (test, figure) = measured.split_once(": ").unwrap_or(("", measured));
            let name = test.rsplit("::").next().unwrap_or_default();
            let database = if name.starts_with("sqlite_") {
                "SQLite: "
            } else if name.starts_with("postgres_") {
                "PostgreSQL: "
            } else {
                ""
            };
            told.push(format!("{database}{figure}"));
        }
    }
    let summary = text.lines().find_map(|line| line.trim().strip_prefix("Summary ["));
    let summary = summary.and_then(|line| line.split_once(']')).map_or("no tests ran", |(_, rest)| rest.trim());
    told.push(summary.split(", ").take_while(|part| !part.contains("skipped")).collect::<Vec<_>>().join(", "));
    if !output.status.success() {
        println!("{text}");
    }
    Ok((output.status.success(), told.join("; ")))
}

fn write_down(table: &str) -> Result<()> {
    let text = fs::read_to_string(DOCUMENT)?;
    let (before, _) = text.split_once("<!-- measured -->").unwrap_or((&text, ""));
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let machine = machine();
    fs::write(
        DOCUMENT,
        format!("{before}<!-- measured -->\n\nThe last full run: {date}, {machine}, development build.\n\n{table}"),
    )?;
    Ok(())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    format!("{cores} cores ({model})")
}
