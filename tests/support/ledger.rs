//! The oracle of the fault tests: what was acknowledged has exactly one effect, what was
//! turned away at most one, and nothing else has any.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::Client;

#[derive(Default)]
pub struct Ledger {
    next: usize,
    acknowledged: Vec<String>,
    /// Asked for, but nobody said what came of it.
    unknown: Vec<String>,
}

impl Ledger {
    /// Ask for one more job; what was answered, none where nobody did.
    pub async fn ask(&mut self, client: &Client, ms: u64) -> Option<u16> {
        self.next += 1;
        let key = format!("job-{:06}", self.next);
        let job = json!({ "kind": "probe.effect", "payload": { "key": key, "ms": ms } });
        let sent = client.request(Method::POST, "/api/v1/jobs").json(&job).send().await;
        let status = sent.ok().map(|response| response.status().as_u16());
        if status == Some(202) {
            self.acknowledged.push(key)
        } else {
            self.unknown.push(key)
        }
        status
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Once everything ended: what is wrong. A dead letter is, whatever was killed.
    pub async fn wrong(&self, client: &Client) -> Vec<String> {
        client.settle().await;
        let dead = client.rows("/api/v1/jobs?filter[state]=dead&filter[kind]=probe.effect").await;
        let mut wrong: Vec<String> = dead.iter().map(|job| format!("a dead letter: {job}")).collect();
        let mut effects = effects(client).await;
        for key in &self.acknowledged {
            match effects.remove(key) {
                Some(1) => {}
                count => wrong.push(format!("{key} was acknowledged and has {count:?} effects")),
            }
        }
        for key in &self.unknown {
            if let Some(count) = effects.remove(key).filter(|count| *count > 1) {
                wrong.push(format!("{key} was turned away and has {count} effects"));
            }
        }
        wrong.extend(effects.keys().map(|key| format!("{key} was never asked for")));
        wrong
    }
}

/// The effects there are, by their keys.
async fn effects(client: &Client) -> BTreeMap<String, usize> {
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = client.get(&format!("/api/v1/apps/probe/effects?page[size]=200{after}")).await.expect(200);
        for row in page["data"].as_array().unwrap() {
            *effects.entry(row["data"]["key"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["page"]["next"].as_str() {
            Some(next) => after = format!("&page[after]={next}"),
            None => return effects,
        }
    }
}
