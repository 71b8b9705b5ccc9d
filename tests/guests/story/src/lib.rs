//! A fixture in several versions, told apart by one byte of the component, which a test
//! changes: so that one build makes all of them.

use std::hint::black_box;

use purlin_sdk::{
    Collection, Descriptor, Event, EventType, Failure, Job, JobKind, Outcome, Plugin, Step, Told, Value, http, jobs,
    json, records,
};

/// `A` is the first version, `B` the next one, which wants more, `C` one that traps. `D` and `E`
/// take no tale of more than a hundred characters; `D` does something about those there are. `F`
/// has an index, and a setting more.
static EDITION: &[u8; 16] = b"story, edition A";

fn edition() -> u8 {
    black_box(EDITION).last().copied().unwrap_or(b'A')
}

struct Story;

impl Plugin for Story {
    fn describe() -> Descriptor {
        let version = match edition() {
            b'A' => "1.0.0",
            b'B' => "1.1.0",
            b'D' => "2.0.0",
            b'E' => "2.1.0",
            b'F' => "1.3.0",
            _ => "1.2.0",
        };
        let is_short = matches!(edition(), b'D' | b'E');
        let text = if is_short { json!({ "type": "string", "maxLength": 100 }) } else { json!({ "type": "string" }) };
        let schema = json!({ "type": "object", "properties": { "text": text, "by": { "type": "string" } } });
        let tales = Collection::new("tales", schema).filterable(&["text", "by"]);
        let tales = if edition() == b'F' { tales.indexed(&["by"]) } else { tales };
        let mut tone = json!({ "tone": { "type": "string" } });
        if edition() == b'F' {
            tone["volume"] = json!({ "type": "integer" });
        }
        let descriptor = Descriptor::new("story", version, "Story")
            .settings(json!({ "type": "object", "properties": tone, "additionalProperties": false }))
            .collection(tales)
            .publishes(EventType::new("story.told"))
            .subscribe("story.told")
            .job(JobKind::new("story.call").attempts(1))
            .on(Told::Enabled);
        let descriptor = if matches!(edition(), b'E' | b'F') { descriptor } else { descriptor.on(Told::Upgraded) };
        match edition() {
            b'A' | b'F' => descriptor,
            _ => descriptor.sends_to("localhost").requests("events:read").subscribe("user.*"),
        }
    }

    fn on_event(event: Event) -> Result<(), Failure> {
        if edition() == b'C' {
            panic!("this edition is broken");
        }
        tell(&format!("{} {}", event.kind, event.subject.unwrap_or_default()))
    }

    fn run_job(job: Job) -> Result<Option<Value>, Failure> {
        let payload: Value = job.payload()?;
        let answer = http::get(payload["url"].as_str().unwrap_or_default()).send();
        Ok(Some(match answer {
            Ok(answer) => json!({ "status": answer.status }),
            Err(error) => json!({ "error": error.to_string() }),
        }))
    }

    /// An upgrade is done in three goes.
    fn on_lifecycle(step: Step) -> Result<Outcome, Failure> {
        let goes = records::collection::<Value>("tales").query().filter("text", "like", "upgraded*").page()?.rows.len();
        match step {
            Step::Upgraded(from) if goes < 3 => {
                jobs::progress(u8::try_from(goes).unwrap_or(0) * 33, Some(&format!("go {goes}")))?;
                tell(&format!("upgraded from {from}, go {goes}"))?;
                Ok(if goes < 2 { Outcome::Again } else { Outcome::Done })
            }
            other => {
                tell(&format!("{other:?}"))?;
                Ok(Outcome::Done)
            }
        }
    }
}

purlin_sdk::export!(Story);

fn tell(text: &str) -> Result<(), Failure> {
    let by = char::from(edition()).to_string();
    records::collection("tales").create(&json!({ "text": text, "by": by }))?;
    Ok(())
}
