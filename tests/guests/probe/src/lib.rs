//! A fixture: does, on request, what plugins do well and what they must not.

mod answers;
mod checks;
mod hostile;
mod script;

use std::time::Duration;

use purlin_sdk::{
    Collection, Descriptor, Error, Event, EventType, Failure, Job, JobKind, Outcome, Plugin, RecordChange, Request,
    Response, Route, Step, Told, Value, Verb, Violation, Write, access, audit, events, identity, jobs, json, log,
    records, settings, tenancy,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Note {
    text: String,
    #[serde(default)]
    n: i64,
}

struct Probe;

const KINDS: [&str; 21] = [
    "probe.echo",
    "probe.spin",
    "probe.grow",
    "probe.flood",
    "probe.recurse",
    "probe.shout",
    "probe.wait",
    "probe.huge",
    "probe.write-then-fail",
    "probe.write-then-panic",
    "probe.fail-once",
    "probe.read-own-writes",
    "probe.get",
    "probe.too-many-writes",
    "probe.look-around",
    "probe.everything",
    "probe.escape",
    "probe.effect",
    "probe.sleep",
    "probe.tell",
    "probe.script",
];

/// People: who is a user, and who is not.
fn people() -> Collection {
    let text = json!({ "type": "string" });
    let schema = json!({
        "type": "object",
        "properties": { "user": text, "name": text, "phone": text, "team": text, "boss": { "type": ["string", "null"] } },
        "required": ["team"],
    });
    Collection::new("people", schema)
        .filterable(&["user", "team", "phone"])
        .indexed(&["user", "phone"])
        .searchable(&["name", "team"])
        .references("boss", "people")
        .personal_data(&["name", "phone"], Some("user"))
}

/// What others keep, lent to people.
fn loans() -> Collection {
    let text = json!({ "type": "string" });
    let schema = json!({ "type": "object", "properties": { "item": text, "to": text } });
    Collection::new("loans", schema).references("item", "inventory.items").references_loosely("to", "people")
}

/// A value of every type that lists compare; `m` is `n` with an index, and `due` is `at`.
fn values() -> Collection {
    let properties = json!({
        "t": { "type": "string" },
        "n": { "type": "number" },
        "m": { "type": "number" },
        "k": { "type": "integer" },
        "b": { "type": "boolean" },
        "colour": { "type": "string", "enum": ["red", "blue"] },
        "at": { "type": "string", "format": "date-time" },
        "due": { "type": "string", "format": "date-time" },
        "day": { "type": "string", "format": "date" },
        "link": { "type": "string", "format": "uuid" },
    });
    let fields = ["t", "n", "m", "k", "b", "colour", "at", "due", "day", "link"];
    let schema = json!({ "type": "object", "properties": properties });
    Collection::new("values", schema).filterable(&fields).sortable(&fields).indexed(&["m", "due", "link"])
}

impl Plugin for Probe {
    fn describe() -> Descriptor {
        let schema = json!({
            "type": "object",
            "properties": { "text": { "type": "string" }, "n": { "type": "integer" }, "alone": { "type": "string" } },
            "required": ["text"],
        });
        let notes = Collection::new("notes", schema)
            .unique(&["text"])
            .filterable(&["text", "n", "alone"])
            .sortable(&["text", "n"]);
        let effect =
            json!({ "type": "object", "properties": { "key": { "type": "string" }, "n": { "type": "integer" } } });
        let effects = Collection::new("effects", effect).filterable(&["key"]).sortable(&["n"]);
        let mut descriptor = Descriptor::new("probe", "0.1.0", "Probe")
            .collection(notes)
            .collection(effects)
            .collection(people())
            .collection(loans())
            .collection(values())
            .publishes(EventType::new("probe.pinged"))
            .publishes(EventType::new("probe.stepped"))
            .publishes(EventType::new("probe.idle"))
            .subscribe("probe.idle")
            .subscribe_ordered("probe.stepped")
            .job(JobKind::new("probe.yearly").schedule("0 0 1 1 *", "Europe/Berlin"))
            .subscribe("probe.notes.created")
            .subscribe("probe.pinged")
            .permission("probe.tools:use", "Break things")
            .route(Route::new("POST", "/notes", "probe.notes:create").summary("Create a note"))
            .route(Route::new("POST", "/counters/{key}", "probe.effects:update").summary("Count one more"))
            .route(Route::new("GET", "/break/{how}", "probe.tools:use").summary("Go wrong"))
            .route(Route::new("POST", "/script", "probe.tools:use").summary("Make calls"))
            .check("notes", &[Verb::Create, Verb::Update, Verb::Delete])
            .check("inventory.items", &[Verb::Create])
            .settings(json!({
                "type": "object",
                "properties": {
                    "greeting": { "type": "string", "default": "hello" },
                    "count": { "type": "integer", "minimum": 0 },
                },
                "additionalProperties": false,
            }))
            .secret("token", "A key of another service")
            .sends_to("localhost")
            .sends_to("*.example.com")
            .on(Told::Configured)
            .keeps_files()
            .requests("users:read")
            .requests("inventory.items:read");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            descriptor = descriptor.route(Route::new(method, "/echo/{word}", "probe.notes:read").header("x-mine"));
        }
        for kind in KINDS {
            descriptor = descriptor
                .job(JobKind::new(kind).attempts(if kind == "probe.fail-once" { 3 } else { 1 }).timeout_ms(20_000));
        }
        descriptor
    }

    fn on_event(event: Event) -> Result<(), Failure> {
        if event.kind == "probe.pinged" {
            events::publish("probe.pinged", None, &json!({ "depth": event.depth }))?;
            return Ok(());
        }
        if event.kind == "probe.nodded" {
            log::info(format!("may write notes: {}", access::check("probe.notes", "create")));
            return Ok(());
        }
        if event.kind == "probe.idle" {
            return Ok(());
        }
        if event.kind == "probe.stepped" {
            let step: Value = event.data()?;
            if step["fail"] == true {
                return Err(Failure::reject("this step fails"));
            }
            return effect(&json!({ "key": event.subject, "n": step["n"] }));
        }
        let note: RecordChange<Note> = event.data()?;
        match note.data.map(|note| note.text).as_deref() {
            Some("ping") => drop(events::publish("probe.pinged", None, &json!({}))?),
            Some("work") => drop(jobs::enqueue("probe.echo", &json!({}), jobs::Options::default())?),
            Some("spin") => hostile::spin(),
            Some("reject") => return Err(Failure::reject("this note is not welcome")),
            _ => {}
        }
        Ok(())
    }

    fn handle_request(request: Request) -> Result<Response, Error> {
        match request.route.as_str() {
            "/echo/{word}" => answers::echo(&request),
            "/notes" => answers::note(&request),
            "/counters/{key}" => answers::count(&request),
            "/script" => Response::json(&script::run(&request.json::<Value>()?).map_err(answers::refusal)?),
            "/break/{how}" => answers::go_wrong(request.param("how")),
            _ => Err(Error::NotFound),
        }
    }

    fn before_write(write: Write) -> Result<(), Vec<Violation>> {
        checks::check(&write)
    }

    fn on_lifecycle(step: Step) -> Result<Outcome, Failure> {
        let greeting = settings::get::<Value>()?["greeting"].clone();
        effect(&json!({ "key": format!("{step:?} {greeting}") }))?;
        Ok(Outcome::Done)
    }

    fn run_job(job: Job) -> Result<Option<Value>, Failure> {
        let payload: Value = job.payload()?;
        match job.kind.as_str() {
            "probe.echo" => Ok(Some(payload)),
            "probe.spin" => hostile::spin(),
            "probe.grow" => hostile::grow(),
            "probe.flood" => hostile::flood(),
            "probe.recurse" => Ok(Some(json!(hostile::recurse(u64::MAX)))),
            "probe.shout" => hostile::shout(),
            "probe.wait" => hostile::wait(),
            "probe.huge" => hostile::huge(),
            "probe.escape" => hostile::escape(),
            "probe.effect" => {
                std::thread::sleep(Duration::from_millis(payload["ms"].as_u64().unwrap_or(0)));
                effect(&payload).map(|()| None)
            }
            "probe.yearly" => effect(&json!({ "key": "yearly" })).map(|()| None),
            "probe.sleep" => {
                std::thread::sleep(Duration::from_millis(payload["ms"].as_u64().unwrap_or(0)));
                Ok(None)
            }
            "probe.tell" => {
                for percent in 1..=60 {
                    jobs::progress(percent, Some("counting"))?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Ok(None)
            }
            "probe.write-then-fail" => {
                write_everything("fail")?;
                Err(Failure::reject("failed after writing"))
            }
            "probe.write-then-panic" => {
                write_everything("panic")?;
                panic!("panicked after writing")
            }
            "probe.fail-once" => {
                write_everything(&format!("attempt {}", job.attempt))?;
                if job.attempt == 1 { Err(Failure::retry("the first attempt fails")) } else { Ok(None) }
            }
            "probe.everything" => {
                write_everything("all")?;
                jobs::progress(100, Some("done"))?;
                Ok(Some(json!({ "tenant": tenancy::current().slug })))
            }
            "probe.read-own-writes" => read_own_writes(),
            "probe.get" => get(&payload),
            "probe.too-many-writes" => too_many_writes(),
            "probe.script" => script::run(&payload).map(Some),
            "probe.look-around" => Ok(Some(look_around(&payload))),
            other => Err(Failure::reject(format!("{other} is unknown"))),
        }
    }
}

purlin_sdk::export!(Probe);

/// One row that tells that this ran.
fn effect(data: &Value) -> Result<(), Failure> {
    records::collection::<Value>("effects").create(data)?;
    Ok(())
}

/// One effect of every sort.
fn write_everything(text: &str) -> Result<(), Failure> {
    log::info(format!("writing {text}"));
    records::collection("notes").create(&Note { text: text.to_owned(), n: 1 })?;
    events::publish("probe.pinged", None, &json!({ "text": text }))?;
    jobs::enqueue("probe.echo", &json!({ "text": text }), jobs::Options::default())?;
    audit::record("probe.wrote.everything", "probe", None, &json!({ "text": text }))?;
    Ok(())
}

fn read_own_writes() -> Result<Option<Value>, Failure> {
    let notes = records::collection::<Note>("notes");
    let stored = notes.count(None)?;
    let first = notes.create(&Note { text: "own 1".to_owned(), n: 1 })?;
    notes.create(&Note { text: "own 2".to_owned(), n: 2 })?;
    let taken = notes.create(&Note { text: "own 2".to_owned(), n: 3 }).is_err();
    let mut changed = notes.get(&first.id)?;
    changed.data.n = 10;
    notes.update(&changed)?;
    let sorted: Vec<i64> =
        notes.query().filter("text", "like", "own*").sort("-n").page()?.rows.iter().map(|r| r.data.n).collect();
    notes.delete(&first.id)?;
    Ok(Some(
        json!({ "added": notes.count(None)? - stored, "sorted": sorted, "taken": taken, "gone": notes.get(&first.id).is_err() }),
    ))
}

/// Read a record by an id from the payload; in the caller's collection or another's.
fn get(payload: &Value) -> Result<Option<Value>, Failure> {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let answer = match records::collection::<Value>(&text("collection")).get(&text("id")) {
        Ok(record) => json!({ "found": record.data }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    Ok(Some(answer))
}

fn too_many_writes() -> Result<Option<Value>, Failure> {
    let notes = records::collection::<Note>("notes");
    for n in 0..600 {
        if let Err(error) = notes.create(&Note { text: format!("many {n}"), n }) {
            return Ok(Some(json!({ "written": n, "error": error.to_string() })));
        }
    }
    Ok(None)
}

fn look_around(payload: &Value) -> Value {
    let user = payload.get("user").and_then(Value::as_str).unwrap_or_default();
    json!({
        "caused_by": identity::caused_by(),
        "user": identity::find(user).map(|user| user.email).map_err(|error| error.to_string()),
        "own": access::check("probe.notes", "create"),
        "other": access::check("inventory.items", "delete"),
        "why": access::explain("inventory.items", "delete").reasons,
    })
}
