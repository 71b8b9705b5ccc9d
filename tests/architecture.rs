//! The house rules that a machine can check.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The dependencies a crate names, development ones aside.
fn dependencies(directory: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(directory).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

const HOST: [(&str, &[&str]); 6] = [
    ("domain", &[]),
    ("store", &["purlin-domain"]),
    ("service", &["purlin-domain", "purlin-store"]),
    ("runtime", &["purlin-domain"]),
    ("api", &["purlin-domain", "purlin-service"]),
    ("server", &["purlin-api", "purlin-domain", "purlin-runtime", "purlin-service"]),
];

#[test]
fn the_rooms_depend_on_each_other_in_one_direction() {
    for (room, allowed) in HOST {
        let own: Vec<String> =
            dependencies(&format!("host/{room}")).into_iter().filter(|d| d.starts_with("purlin")).collect();
        assert_eq!(own, allowed, "host/{room}");
    }
    assert!(!dependencies("sdk").iter().any(|d| d.starts_with("purlin")), "the SDK depends on the contract alone");
    for plugin in fs::read_dir(root().join("plugins")).unwrap().map(Result::unwrap) {
        let own: Vec<String> = dependencies(&format!("plugins/{}", plugin.file_name().display()))
            .into_iter()
            .filter(|d| d.starts_with("purlin"))
            .collect();
        assert_eq!(own, ["purlin-sdk"]);
    }
}

#[test]
fn each_outer_library_lives_in_its_rooms() {
    let homes: [(&str, &[&str]); 5] = [
        ("axum", &["api", "server"]),
        ("sqlx", &["store"]),
        ("redis", &["store"]),
        ("wasmtime", &["runtime"]),
        ("wasmtime-wasi", &["runtime"]),
    ];
    for (library, rooms) in homes {
        for (room, _) in HOST {
            let there = dependencies(&format!("host/{room}")).contains(library);
            assert_eq!(there, rooms.contains(&room), "{library} in host/{room}");
        }
    }
}

#[test]
fn only_the_server_reads_the_environment() {
    for room in ["domain", "store", "service", "runtime", "api"] {
        for (path, text) in sources(&format!("host/{room}/src")) {
            assert!(!text.contains("env::var") && !text.contains("std::env"), "{}", path.display());
        }
    }
}

#[test]
fn sql_is_built_at_run_time_in_one_place() {
    for (path, text) in sources("host") {
        let name = path.file_name().unwrap().to_str().unwrap();
        // postgres.rs formats a typed UUID into SET, which takes no parameters; mutants.rs is for tests.
        let homes = ["built.rs", "inserts.rs", "postgres.rs", "mutants.rs"];
        assert!(!text.contains("AssertSqlSafe") || homes.contains(&name), "{}", path.display());
    }
}

#[test]
fn files_stay_small_enough_to_read() {
    for directory in ["host", "sdk", "plugins", "xtask", "tests"] {
        for (path, text) in sources(directory) {
            assert!(text.lines().count() <= 500, "{} has {} lines", path.display(), text.lines().count());
        }
    }
}

#[test]
fn the_document_of_the_api_names_every_operation_and_what_it_needs() {
    let text = fs::read_to_string(root().join("docs/http-api.md")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| GET ") || line.starts_with("| P") || line.starts_with("| DELETE "))
        .collect();
    for operation in purlin_api::operations() {
        let path = operation.path.trim_start_matches("/api/v1");
        let needs = match operation.needs {
            purlin_api::Needs::Nothing => "nothing".to_owned(),
            purlin_api::Needs::SignedIn => "signed in".to_owned(),
            purlin_api::Needs::Permission(resource, action) => format!("{resource}:{action}"),
            purlin_api::Needs::Collection(action) => format!("{{plugin}}.{{collection}}:{action}"),
            purlin_api::Needs::Files => "{plugin}.files:read".to_owned(),
            purlin_api::Needs::PluginRoute => "what the route declares".to_owned(),
            purlin_api::Needs::Operator => "operator".to_owned(),
        };
        let name = format!("{} {path}", operation.method);
        let is_it = |line: &&&str| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let named = cells[0].trim_start_matches("| ").split(", ").any(|one| one == name);
            // A search stands beside its list.
            let search = path
                .strip_suffix("/search")
                .is_some_and(|list| cells[0].contains(&format!("GET {list},")) && cells[0].contains("/search"));
            (named || search) && cells[1].trim_matches('`') == needs
        };
        assert!(lines.iter().any(|line| is_it(&line)), "docs/http-api.md lacks `{name}`, which needs {needs}");
    }
}

/// The words that follow this in a text, in quotes.
fn quoted_after<'a>(text: &'a str, what: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(what).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

#[test]
fn the_document_of_the_api_names_every_code_of_a_problem() {
    let text = fs::read_to_string(root().join("docs/http-api.md")).unwrap();
    let problems = text.split("## Problems").nth(1).unwrap();
    let named: Vec<&str> = problems.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).collect();
    for (path, source) in sources("host") {
        let statuses = ["BAD_REQUEST,", "CONFLICT,", "FORBIDDEN,", "SERVICE_UNAVAILABLE,", "UNPROCESSABLE_ENTITY,"];
        let codes =
            ["ServiceError::Conflict(", "ServiceError::Closed(", "ServiceError::Plugin("].into_iter().chain(statuses);
        for code in codes.flat_map(|what| quoted_after(&source, what)) {
            assert!(named.contains(&code), "docs/http-api.md lacks `{code}` of {}", path.display());
        }
    }
}
