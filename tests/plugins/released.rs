//! The contract keeps what it once released: functions and interfaces are added, none is
//! altered, and components that were built before run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every statement of every interface and world below this directory, by where it stands:
/// without comments, its white space evened out.
fn statements(directory: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let code = code.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        let (_package, code) = code.split_once(';').expect("a package comes first");
        let (head, body) = code.split_once('{').expect("an interface or a world follows");
        let body = body.trim().strip_suffix('}').expect("which is closed");
        let mut depth = 0;
        let mut statement = String::new();
        for character in body.chars() {
            statement.push(character);
            depth += i32::from(character == '{') - i32::from(character == '}');
            // `use a.{b};` ends with its semicolon, a record with its brace.
            let is_use = statement.trim_start().starts_with("use ");
            if depth == 0 && (character == ';' || character == '}' && !is_use) {
                all.entry(head.trim().to_owned()).or_default().insert(statement.trim().to_owned());
                statement.clear();
            }
        }
        assert!(statement.trim().is_empty(), "{}: {statement}", path.display());
    }
    all
}

#[test]
fn the_contract_still_has_everything_it_released() {
    let released = root().join("tests/released");
    let now = statements(&root().join("wit"));
    let mut count = 0;
    for version in fs::read_dir(&released).unwrap() {
        let version = version.unwrap().path();
        for (place, wanted) in statements(&version.join("wit")) {
            let present = now.get(&place).unwrap_or_else(|| panic!("`{place}` of {} is gone", version.display()));
            for statement in &wanted {
                // What one may use may grow; what is used is in the statements themselves.
                let is_there = statement.starts_with("use ") || present.contains(statement);
                assert!(is_there, "{} released in `{place}`: {statement}", version.display());
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count} statements were looked at");
}

#[db_test]
async fn a_component_that_was_built_for_a_released_contract_runs(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for version in fs::read_dir(root().join("tests/released")).unwrap() {
        let component = fs::read(version.unwrap().path().join("story.wasm")).unwrap();
        host.operator().await.upload(component).await.expect(201);
        ada.enable("story").await;
        ada.post("/api/v1/events", &json!({ "type": "story.told", "subject": "old", "data": {} })).await.expect(201);
        ada.settle().await;
        let rows = ada.rows("/api/v1/apps/story/tales?filter[text]=story.told old").await;
        assert_eq!(rows.len(), 1);
        ada.post("/api/v1/installations/story/uninstall", &json!({})).await.expect(204);
    }
}
