//! Checks of writes, good ones and bad ones.

use purlin_sdk::{Value, Verb, Violation, Write, files, json, records};

use crate::hostile;

fn violation(pointer: &str, detail: impl Into<String>) -> Result<(), Vec<Violation>> {
    Err(vec![Violation { pointer: pointer.to_owned(), detail: detail.into() }])
}

/// A rule over a set: of notes that name it, there is one.
fn check_alone(set: &str) -> Result<(), Vec<Violation>> {
    let notes = records::collection::<Value>("notes");
    let locked = records::lock(&format!("alone/{set}"));
    match locked.and_then(|()| notes.count(Some(&json!({ "field": "alone", "op": "eq", "value": set })))) {
        Ok(0) => Ok(()),
        Ok(_) => violation("/alone", "another note has the set for itself"),
        Err(error) => violation("/alone", error.to_string()),
    }
}

/// What is wrong with a write, by the text of the note or the name of the item.
pub(crate) fn check(write: &Write) -> Result<(), Vec<Violation>> {
    let data = write.after::<Value>().ok().flatten().or_else(|| write.before::<Value>().ok().flatten());
    let data = data.unwrap_or_default();
    if write.collection == "inventory.items" {
        return if data["sku"] == "BANNED" { violation("/sku", "is banned") } else { Ok(()) };
    }
    let text = data["text"].as_str().unwrap_or_default();
    if let (Some(set), Verb::Create) = (data["alone"].as_str(), write.verb) {
        return check_alone(set);
    }
    match (text, write.verb) {
        ("unwelcome", Verb::Create) => violation("/text", "is not welcome"),
        ("kept", Verb::Delete) => violation("", "this note is kept"),
        ("check: say nothing", _) => Err(Vec::new()),
        ("check: panic", _) => panic!("the check panics"),
        ("check: spin", _) => hostile::spin(),
        ("check: write", _) => {
            let note = records::collection::<Value>("notes").create(&json!({ "text": "from a check" }));
            let file = files::put("from/a/check", "text/plain", b"x");
            violation("/text", format!("{:?}; {:?}", note.map(|n| n.id), file.map(|f| f.key)))
        }
        ("check: count", _) => {
            let seen = records::collection::<Value>("notes").count(None);
            violation("/text", format!("{seen:?} notes"))
        }
        _ => Ok(()),
    }
}
