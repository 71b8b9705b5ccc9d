//! Calls that a test asks for, one after the other, and what each answered.

use std::time::Duration;

use purlin_sdk::{Error, Failure, Value, audit, budget, events, files, http, jobs, json, log, records, settings};

use crate::{Note, hostile};

/// Make the calls of `{"calls": [{"do": …}, …], "then": …}`; each answers `ok` or `error`.
pub(crate) fn run(script: &Value) -> Result<Value, Failure> {
    let calls = script["calls"].as_array().cloned().unwrap_or_default();
    let answers: Vec<Value> = calls
        .iter()
        .map(|call| match make(call) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.to_string() }),
        })
        .collect();
    match script["then"].as_str().unwrap_or_default() {
        "fail" => Err(Failure::reject("the script fails")),
        "panic" => panic!("the script panics"),
        "spin" => hostile::spin(),
        _ => Ok(json!(answers)),
    }
}

fn make(call: &Value) -> Result<Value, Error> {
    let text = |key: &str| call[key].as_str().unwrap_or_default();
    let number = |key: &str, default: u64| call[key].as_u64().unwrap_or(default);
    let own = || records::collection::<Value>(text("collection"));
    Ok(match text("do") {
        "settings" => settings::get::<Value>()?,
        "secret" => json!(settings::secret(text("name"))?),
        "budget" => json!(budget::remaining().iter().map(|a| json!([a.limit, a.left, a.total])).collect::<Vec<_>>()),
        "fetch" => fetch(call)?,
        "put" => {
            let content = text("text").repeat(usize::try_from(number("times", 1)).unwrap_or(1));
            let kind = call["type"].as_str().unwrap_or("text/plain");
            json!(files::put(text("key"), kind, content.as_bytes())?.digest)
        }
        "stat" => json!(files::stat(text("key"))?.bytes),
        "read" => {
            let length = u32::try_from(number("length", 1 << 20)).unwrap_or(u32::MAX);
            json!(String::from_utf8_lossy(&files::read(text("key"), number("offset", 0), length)?))
        }
        "remove" => json!(files::delete(text("key"))?),
        "files" => {
            let size = u32::try_from(number("size", 200)).unwrap_or(u32::MAX);
            let page = files::list(text("prefix"), size, call["after"].as_str())?;
            json!({ "keys": page.files.iter().map(|f| f.key.clone()).collect::<Vec<_>>(), "next": page.next })
        }
        "create" => json!(own().create(&call["data"])?.id),
        "update" => {
            let mut record = own().get(text("id"))?;
            record.data = call["data"].clone();
            json!(own().update(&record)?.version)
        }
        "patch" => own().patch(text("id"), &call["data"])?.data,
        "lock" => json!(records::lock(text("key"))?),
        "lock-many" => json!((0..600).try_for_each(|n| records::lock(&format!("key {n}")))?),
        "create-once" => json!(create_once(text("key"), &call["data"])?),
        "typed-update" => {
            let notes = records::collection::<Note>("notes");
            let mut note = notes.get(text("id"))?;
            note.data.n = call["n"].as_i64().unwrap_or_default();
            json!(notes.update(&note)?.version)
        }
        "get" => own().get(text("id"))?.data,
        "count" => json!(own().count(call.get("filter"))?),
        "find" => json!(own().query().filter(text("property"), "eq", text("value")).page()?.rows.len()),
        "delete" => json!(own().delete(text("id"))?),
        "publish" => json!(events::publish(text("type"), call["subject"].as_str(), &call["data"])?),
        "enqueue" => json!(jobs::enqueue(text("kind"), &call["payload"], jobs::Options::default())?),
        "audit" => json!(audit::record(text("action"), "probe", None, &call["changes"])?),
        "progress" => json!(jobs::progress(u8::try_from(number("percent", 0)).unwrap_or(u8::MAX), None)?),
        "log" => json!(log::info(text("text"))),
        "sleep" => json!(std::thread::sleep(Duration::from_millis(number("ms", 0)))),
        other => return Err(Error::invalid("/do", format!("`{other}` is unknown"))),
    })
}

/// Create an effect unless there is one of this key.
fn create_once(lock: &str, data: &Value) -> Result<&'static str, Error> {
    let effects = records::collection::<Value>("effects");
    records::lock(lock)?;
    if effects.count(Some(&json!({ "field": "key", "op": "eq", "value": data["key"] })))? > 0 {
        return Ok("there");
    }
    effects.create(data)?;
    Ok("made")
}

fn fetch(call: &Value) -> Result<Value, Error> {
    let mut request = http::request(call["method"].as_str().unwrap_or("GET"), call["url"].as_str().unwrap_or_default());
    for (name, value) in call["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    if let Some(ms) = call["timeout_ms"].as_u64() {
        request = request.timeout(Duration::from_millis(ms));
    }
    let answer = request.body(call["body"].as_str().unwrap_or_default()).send()?;
    Ok(json!({ "status": answer.status, "headers": answer.headers, "body": String::from_utf8_lossy(&answer.body) }))
}
