//! Answers to requests, good ones and bad ones.

use purlin_sdk::{Error, Failure, Request, Response, Value, events, json, records};

use crate::{Note, hostile};

/// What came in.
pub(crate) fn echo(request: &Request) -> Result<Response, Error> {
    Response::json(&json!({
        "method": request.method,
        "route": request.route,
        "path": request.path,
        "word": request.param("word"),
        "query": request.query,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    }))
}

/// Create a note, and answer with the status that was asked for.
pub(crate) fn note(request: &Request) -> Result<Response, Error> {
    let note = records::collection("notes").create(&request.json::<Note>()?)?;
    events::publish("probe.stepped", None, &json!({ "of": note.id }))?;
    if request.query("then") == Some("panic") {
        panic!("panicked after writing");
    }
    let status = request.query("status").and_then(|status| status.parse().ok()).unwrap_or(201);
    Ok(Response::new(status)
        .header("content-type", "application/x-note")
        .header("location", &format!("/notes/{}", note.id))
        .header("x-note", &note.id)
        .header("set-cookie", "a=b")
        .header("cache-control", "public, max-age=60, s-maxage=60")
        .header("x-accel-redirect", "/internal")
        .header("access-control-allow-origin", "*")
        .body([0xff, 0x00, 0xfe]))
}

/// One more in the one record of this key.
pub(crate) fn count(request: &Request) -> Result<Response, Error> {
    let counters = records::collection::<Value>("effects");
    let key = request.param("key");
    let found = counters.query().filter("key", "eq", key).page()?.rows.into_iter().next();
    let n = match found {
        None => {
            counters.create(&json!({ "key": key, "n": 1 }))?;
            1
        }
        Some(row) => {
            let mut row = counters.get(&row.id)?;
            let n = row.data["n"].as_i64().unwrap_or(0) + 1;
            row.data["n"] = json!(n);
            counters.update(&row)?;
            n
        }
    };
    Response::json(&json!({ "n": n }))
}

pub(crate) fn go_wrong(how: &str) -> Result<Response, Error> {
    match how {
        "denied" => Err(Error::Denied("probe.tools:more".to_owned())),
        "not-found" => Err(Error::NotFound),
        "conflict" => Err(Error::Conflict("somebody was faster".to_owned())),
        "invalid" => Err(Error::invalid("/text", "is not polite")),
        "unavailable" => Err(Error::Unavailable("later".to_owned())),
        "panic" => panic!("went wrong"),
        "spin" => hostile::spin(),
        "status" => Ok(Response::new(99)),
        "huge" => Ok(Response::new(200).body(vec![b'x'; 2 << 20])),
        "headers" => Ok((0..100).fold(Response::new(200), |answer, n| answer.header(&format!("x-{n}"), "y"))),
        "split" => Ok(Response::new(200).header("x-a", "b\r\nset-cookie: c=d").header("bad name", "e")),
        "users" => {
            purlin_sdk::identity::find("01930000-0000-7000-8000-000000000000")?;
            Ok(Response::new(204))
        }
        _ => Err(Error::NotFound),
    }
}

/// How a failure of a script is answered.
pub(crate) fn refusal(failure: Failure) -> Error {
    Error::Conflict(format!("{failure:?}"))
}
