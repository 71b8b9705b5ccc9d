//! Lists against an oracle: random filters, sorts and cursors over values of every type, in
//! random order, over few connections. The oracle shares no code with the host; what the domain
//! evaluates in memory is compared as a third party.

use std::{cmp::Ordering, collections::BTreeMap};

use purlin_domain::{
    descriptor::Collection,
    filter::{Filter, Operand},
};
use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, Options, figure, measured};

const PATH: &str = "/api/v1/apps/probe/values";
/// Each field, and the index of its type in [`operands`]. `m` is `n`, indexed.
const FIELDS: [&str; 5] = ["t", "n", "m", "k", "b"];
const RECORDS: usize = 60;

/// One record: its id, and its data as it was sent.
struct Row {
    id: String,
    data: Value,
}

/// A tenant, and what it has.
struct Tenant {
    client: Client,
    rows: Vec<Row>,
}

/// A list being read page by page.
struct Walk {
    tenant: usize,
    query: Value,
    expected: Vec<String>,
    found: Vec<String>,
    after: Option<String>,
}

fn numbers() -> Vec<Value> {
    let mut all: Vec<Value> = (-3..12).map(|n| json!(n)).collect();
    all.extend((-3..12).map(|n| json!(f64::from(n) + 0.5)));
    all.extend([json!(i64::MAX), json!(i64::MIN), json!(i64::MAX - 1), json!(1_i64 << 53), json!((1_i64 << 53) + 1)]);
    all.extend(
        [1007.64, 0.1, 0.30000000000000004, 1e-300, -1e-300, 1e300, -1e300, 1e19, 9.3e18, 5e-324].map(Value::from),
    );
    all.extend([1.5e10 + 0.5, 123_456_789.125, 4.35, 2.675, 1.0 / 3.0].map(Value::from));
    all
}

fn texts() -> Vec<Value> {
    let all = ["", "A", "a", "ab", "Ab", "\u{e9}", "e\u{301}", "z%", "z_", "zz", "\\", "a\\b", "5", "true"];
    let of_two_cases =
        ["\u{c9}", "E\u{301}a", "STRASSE", "stra\u{df}e", "\u{fb01}n", "FIN", "\u{3a3}\u{3c2}", "\u{65e5}"];
    all.iter().chain(&of_two_cases).map(|text| json!(text)).collect()
}

fn integers() -> Vec<Value> {
    [-2, -1, 0, 1, 2, 3, i64::MAX, i64::MIN, (1 << 53) + 1].map(Value::from).to_vec()
}

fn operands(field: &str) -> Vec<Value> {
    match field {
        "t" => texts(),
        "k" => [integers(), vec![json!(0.5), json!(1e300)]].concat(),
        "b" => vec![json!(true), json!(false)],
        _ => numbers(),
    }
}

fn stored(field: &str) -> Vec<Value> {
    if field == "k" { integers() } else { operands(field) }
}

fn data(random: &mut StdRng) -> Value {
    let mut data = serde_json::Map::new();
    for field in FIELDS {
        if random.random_ratio(5, 6) {
            data.insert(field.to_owned(), stored(field).choose(random).unwrap().clone());
        }
    }
    match data.get("n").cloned() {
        Some(n) => data.insert("m".to_owned(), n),
        None => data.remove("m"),
    };
    Value::Object(data)
}

fn predicate(random: &mut StdRng) -> Value {
    let field = *FIELDS.choose(random).unwrap();
    let mut ops = vec!["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "null"];
    if field == "t" {
        ops.extend(["like", "like", "ilike", "ilike"]);
    }
    let op = *ops.choose(random).unwrap();
    let pool = operands(field);
    let value = match op {
        "in" | "nin" => (0..random.random_range(1..5)).map(|_| pool.choose(random).unwrap().clone()).collect(),
        "null" => json!(random.random::<bool>()),
        "like" => json!(*["*", "a*", "*b", "A", "*z*", "*%*", "_*", "*\u{e9}*"].choose(random).unwrap()),
        "ilike" => json!(
            *["A*", "*B", "e*", "*\u{c9}*", "e\u{301}", "stra\u{1e9e}e", "*SS*", "f*", "\u{3c3}*", "*Z_*"]
                .choose(random)
                .unwrap()
        ),
        _ => pool.choose(random).unwrap().clone(),
    };
    json!({ "field": field, "op": op, "value": value })
}

fn tree(random: &mut StdRng, depth: u32) -> Value {
    if depth == 0 || random.random_ratio(1, 2) {
        return predicate(random);
    }
    let mut parts = || -> Vec<Value> {
        let count = random.random_range(1..4);
        (0..count).map(|_| tree(random, depth - 1)).collect()
    };
    let parts = parts();
    match random.random_range(0..5) {
        0 => json!({ "not": parts[0] }),
        1 | 2 => json!({ "or": parts }),
        _ => json!({ "and": parts }),
    }
}

// The oracle: how values compare, which rows pass, in what order.

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(a), None) => whole_to_double(a, b.as_f64().unwrap()),
            (None, Some(b)) => whole_to_double(b, a.as_f64().unwrap()).reverse(),
            (None, None) => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
        },
        other => panic!("{other:?}"),
    }
}

/// Exactly: the whole part first, then what is left. A cast of a double that is too large saturates.
fn whole_to_double(whole: i64, double: f64) -> Ordering {
    let (floor, whole) = (double.floor(), i128::from(whole));
    whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal })
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some(('*', rest)), _) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        (Some((wanted, pattern)), Some((found, text))) => wanted == found && like(text, pattern),
        (Some(_), None) => false,
    }
}

/// The texts of this test without regard to case and composition, from the tables of Unicode.
fn folded(text: &str) -> String {
    let forms = [
        ("e\u{301}", "\u{e9}"),
        ("E\u{301}", "\u{e9}"),
        ("\u{c9}", "\u{e9}"),
        ("\u{df}", "ss"),
        ("\u{1e9e}", "ss"),
        ("\u{fb01}", "fi"),
        ("\u{3a3}", "\u{3c3}"),
        ("\u{3c2}", "\u{3c3}"),
    ];
    forms.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)).to_ascii_lowercase()
}

/// True, false, or unknown where a value is missing.
fn holds(tree: &Value, data: &Value) -> Option<bool> {
    let parts = |key: &str| tree[key].as_array().unwrap().iter().map(|part| holds(part, data)).collect::<Vec<_>>();
    if tree.get("and").is_some() {
        let parts = parts("and");
        return if parts.contains(&Some(false)) { Some(false) } else { (!parts.contains(&None)).then_some(true) };
    }
    if tree.get("or").is_some() {
        let parts = parts("or");
        return if parts.contains(&Some(true)) { Some(true) } else { (!parts.contains(&None)).then_some(false) };
    }
    if let Some(part) = tree.get("not") {
        return holds(part, data).map(|held| !held);
    }
    let (found, wanted) = (data.get(tree["field"].as_str().unwrap()), &tree["value"]);
    if tree["op"] == "null" {
        return Some(found.is_none() == wanted.as_bool().unwrap());
    }
    let found = found?;
    let is_any = |wanted: &Value| wanted.as_array().unwrap().iter().any(|one| order(found, one).is_eq());
    Some(match tree["op"].as_str().unwrap() {
        "eq" => order(found, wanted).is_eq(),
        "ne" => order(found, wanted).is_ne(),
        "gt" => order(found, wanted).is_gt(),
        "gte" => order(found, wanted).is_ge(),
        "lt" => order(found, wanted).is_lt(),
        "lte" => order(found, wanted).is_le(),
        "in" => is_any(wanted),
        "nin" => !is_any(wanted),
        "like" => {
            let chars = |value: &Value| value.as_str().unwrap().chars().collect::<Vec<_>>();
            like(&chars(found), &chars(wanted))
        }
        "ilike" => {
            let chars = |value: &Value| folded(value.as_str().unwrap()).chars().collect::<Vec<_>>();
            like(&chars(found), &chars(wanted))
        }
        other => panic!("{other}"),
    })
}

/// What is missing comes last; the id decides, in the direction of the last key.
fn in_order(a: &Row, b: &Row, sort: &[&str]) -> Ordering {
    let mut last_descends = false;
    for key in sort {
        let (name, descends) = key.strip_prefix('-').map_or((*key, false), |name| (name, true));
        last_descends = descends;
        let ordering = match (a.data.get(name), b.data.get(name)) {
            (Some(a), Some(b)) if descends => order(b, a),
            (Some(a), Some(b)) => order(a, b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    if last_descends { b.id.cmp(&a.id) } else { a.id.cmp(&b.id) }
}

fn expected(rows: &[Row], filter: &Value, sort: &[&str]) -> Vec<String> {
    let mut passing: Vec<&Row> = rows.iter().filter(|row| holds(filter, &row.data) == Some(true)).collect();
    passing.sort_by(|a, b| in_order(a, b, sort));
    passing.iter().map(|row| row.id.clone()).collect()
}

/// The collection as the domain knows it.
fn collection() -> Collection {
    serde_json::from_value(json!({
        "name": "values",
        "schema": { "properties": {
            "t": { "type": "string" }, "n": { "type": "number" }, "m": { "type": "number" },
            "k": { "type": "integer" }, "b": { "type": "boolean" },
        } },
        "filterable": FIELDS, "sortable": FIELDS,
    }))
    .unwrap()
}

/// How many rows the domain lets pass.
fn domain_passes(rows: &[Row], filter: &Value) -> usize {
    let filter = Filter::parse(filter, &collection().fields()).unwrap();
    let value = |row: &Row, field: &purlin_domain::filter::Field| {
        row.data.get(&field.name).and_then(|value| Operand::of(field.field_type, value).ok())
    };
    rows.iter().filter(|row| filter.matches(&|field| value(row, field))).count()
}

async fn begin(tenants: &[Tenant], random: &mut StdRng) -> Walk {
    let tenant = random.random_range(0..tenants.len());
    let filter = tree(random, 2);
    let mut sort: Vec<&str> = Vec::new();
    let keys = [["t", "-t"], ["n", "-n"], ["k", "-k"], ["b", "-b"], ["m", "-m"]];
    let count = random.random_range(1..3);
    for key in keys.sample(random, count).collect::<Vec<_>>() {
        sort.push(key.choose(random).unwrap());
    }
    let rows = &tenants[tenant].rows;
    let expected = expected(rows, &filter, &sort);
    assert_eq!(domain_passes(rows, &filter), expected.len(), "the domain disagrees about {filter}");
    let query = json!({ "filter": filter, "sort": sort, "page": { "size": random.random_range(1..20) } });
    Walk { tenant, query, expected, found: Vec::new(), after: None }
}

/// Read the next page; whether it was the last.
async fn step(walk: &mut Walk, tenants: &[Tenant]) -> bool {
    let mut query = walk.query.clone();
    if let Some(after) = &walk.after {
        query["page"]["after"] = json!(after);
    }
    let page = tenants[walk.tenant].client.post(&format!("{PATH}/search"), &query).await.expect(200);
    walk.found.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
    walk.after = page["page"]["next"].as_str().map(str::to_owned);
    walk.after.is_none() || walk.found.len() > walk.expected.len()
}

#[db_test]
async fn every_filter_sort_and_cursor_agrees_with_the_oracle(database: Database) {
    let options = Options::default().set("PURLIN_DATABASE_CONNECTIONS", 2);
    let host = Host::start_with(database, options).await;
    host.upload(&["probe"]).await;
    let mut random = StdRng::seed_from_u64(19);
    let (mut tenants, mut changed) = (Vec::new(), Vec::new());
    for slug in ["acme", "bolt"] {
        let client = host.tenant(slug).await;
        client.enable("probe").await;
        let mut rows = Vec::new();
        for _ in 0..RECORDS {
            let data = data(&mut random);
            let record = client.post(PATH, &data).await.expect(201);
            let id = record["id"].as_str().unwrap().to_owned();
            let read = client.get(&format!("{PATH}/{id}")).await.expect(200);
            if (&record["data"], &read["data"]) != (&data, &data) {
                changed.push(format!("{data} was answered as {} and is read as {}", record["data"], read["data"]));
            }
            rows.push(Row { id, data });
        }
        tenants.push(Tenant { client, rows });
    }
    let (walks, mut requests, mut wrong) = (figure(150, 3_000), 0, BTreeMap::new());
    let mut open = Vec::new();
    for begun in 0.. {
        if begun < walks {
            open.push(begin(&tenants, &mut random).await);
        }
        if open.is_empty() {
            break;
        }
        for _ in 0..3 {
            let at = random.random_range(0..open.len());
            requests += 1;
            if step(&mut open[at], &tenants).await {
                let walk = open.swap_remove(at);
                if walk.found != walk.expected {
                    wrong.insert(walk.query.to_string(), (walk.expected.len(), walk.found.len()));
                }
            }
            if open.is_empty() {
                break;
            }
        }
    }
    measured!("{} of {walks} lists differ from the oracle, {requests} requests", wrong.len());
    assert!(changed.is_empty(), "what was accepted is read back: {changed:#?}");
    assert!(wrong.is_empty(), "rows expected and found: {wrong:#?}");
}
