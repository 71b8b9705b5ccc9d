//! Requests made up from the OpenAPI document.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

/// Makes up values, the same for both sides.
pub(super) struct Maker<'a> {
    pub(super) random: StdRng,
    pub(super) schemas: &'a Value,
    /// How many ids both sides have seen.
    pub(super) ids: usize,
}

impl Maker<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn text(&mut self) -> String {
        let texts = [
            "",
            "a",
            "A",
            "ops",
            "admin",
            "Bolt",
            "inventory",
            "probe",
            "items",
            "é",
            "É",
            "e\u{301}",
            "%",
            "_",
            "*",
            "a*",
            "\\",
            "a,b",
            "a\\,b",
            "x@y.example",
            "bob@acme.example",
            "BOB@ACME.EXAMPLE",
            "Bob <b@x.example>",
            "a@münchen.example",
            "https://example.org/x",
            "http://localhost/",
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+02:00",
            "2026-02-30",
            "UTC",
            "Mars/X",
            "true",
            "1",
            "1.5",
            "-0.0",
            "1e19",
            "9223372036854775808",
            "users:read",
            "*:*",
            "inventory.items:*",
            "probe.echo",
            "ping",
            "**",
            "user.*",
            "correct horse battery",
            "\u{0}",
            "😀",
            "null",
        ];
        (*texts.choose(&mut self.random).unwrap()).to_owned()
    }

    fn id(&mut self) -> String {
        match self.random.random_range(0..12) {
            0 => "not-an-id".to_owned(),
            1 => "00000000-0000-0000-0000-000000000000".to_owned(),
            _ if self.ids == 0 => "none".to_owned(),
            _ => format!("<id {}>", self.random.random_range(0..self.ids)),
        }
    }

    fn number(&mut self) -> Value {
        let numbers = [
            json!(0),
            json!(1),
            json!(2),
            json!(-1),
            json!(1.5),
            json!(2.5),
            json!(40.0),
            json!(1e300),
            json!(1e19),
            json!(-0.0),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(200),
            json!(0.1),
        ];
        numbers.choose(&mut self.random).unwrap().clone()
    }

    fn anything(&mut self, depth: usize) -> Value {
        match self.random.random_range(0..if depth > 3 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.random.random::<bool>()),
            2 => self.number(),
            3 => json!(self.text()),
            4 => json!(self.id()),
            5 => (0..self.random.random_range(0..3)).map(|_| self.anything(depth + 1)).collect(),
            _ => self.members(depth),
        }
    }

    pub(super) fn members(&mut self, depth: usize) -> Value {
        let names = [
            "sku", "name", "stock", "quantity", "item_id", "text", "n", "team", "boss", "t", "m", "k", "b", "x y",
            "reason",
        ];
        let count = self.random.random_range(0..4);
        let mut members = Map::new();
        for _ in 0..count {
            let name = (*names.choose(&mut self.random).unwrap()).to_owned();
            let value =
                if name.ends_with("_id") || name == "boss" { json!(self.id()) } else { self.anything(depth + 1) };
            members.insert(name, value);
        }
        Value::Object(members)
    }

    /// A value for a schema; now and then one that does not fit.
    pub(super) fn of(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > 6 || self.one_in(12) {
            return self.anything(depth);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let schemas = self.schemas;
            return self.of(&schemas[reference.rsplit('/').next().unwrap()], depth + 1);
        }
        for many in ["anyOf", "oneOf", "allOf"] {
            if let Some(options) = schema[many].as_array() {
                let option = options.choose(&mut self.random).unwrap().clone();
                return self.of(&option, depth + 1);
            }
        }
        if let Some(options) = schema["enum"].as_array() {
            return options.choose(&mut self.random).unwrap().clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.choose(&mut self.random).unwrap().clone(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("string") if schema["format"] == "uuid" => json!(self.id()),
            Some("string") => json!(self.text()),
            Some("integer" | "number") => self.number(),
            Some("boolean") => json!(self.random.random::<bool>()),
            Some("null") => Value::Null,
            Some("array") => {
                let count = self.random.random_range(0..3);
                (0..count).map(|_| self.of(&schema["items"], depth + 1)).collect()
            }
            Some("object") => {
                let required: Vec<&str> =
                    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let mut members = Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    if required.contains(&name.as_str()) && !self.one_in(15) || self.one_in(2) {
                        members.insert(name.clone(), self.named(name, schema, depth));
                    }
                }
                Value::Object(members)
            }
            _ => self.members(depth),
        }
    }

    /// A value for a member whose name says more than its schema.
    fn named(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        let is_plain = !self.one_in(6);
        match name {
            "email" if is_plain => json!(format!("u{}@acme.example", self.random.random_range(0..30))),
            "password" | "current_password" | "new_password" if is_plain => json!("correct horse battery"),
            "plugin" if is_plain => json!(*["inventory", "probe"].choose(&mut self.random).unwrap()),
            "grants" if is_plain => json!("all"),
            "kind" if is_plain => {
                json!(*["ping", "probe.echo", "inventory.valuation"].choose(&mut self.random).unwrap())
            }
            "url" if is_plain => json!("https://example.org/hook"),
            "event_types" if is_plain => json!(["user.*"]),
            "permissions" | "scopes" if is_plain => json!(["users:read"]),
            // A shorter one may have passed on one side.
            "delay_ms" if is_plain => json!(*[0, 3_600_000].choose(&mut self.random).unwrap()),
            "delay_ms" => json!(*[json!(-1), json!(1.5), json!("1"), Value::Null].choose(&mut self.random).unwrap()),
            "filter" if is_plain => self.filter(),
            "sort" if is_plain => json!([]),
            _ => self.of(schema, depth + 1),
        }
    }

    fn filter(&mut self) -> Value {
        let fields = [
            "id",
            "created_at",
            "email",
            "name",
            "state",
            "sku",
            "stock",
            "quantity",
            "n",
            "t",
            "k",
            "b",
            "type",
            "attempt",
        ];
        let ops = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "like", "ilike", "null"];
        let field = *fields.choose(&mut self.random).unwrap();
        let op = *ops.choose(&mut self.random).unwrap();
        let one = |maker: &mut Self| match field {
            "id" => json!(maker.id()),
            "stock" | "quantity" | "n" | "k" | "attempt" => maker.number(),
            "b" => json!(true),
            _ => json!(maker.text()),
        };
        let value = match op {
            "in" | "nin" => vec![one(self), one(self)].into(),
            "null" => json!(true),
            _ => one(self),
        };
        let leaf = json!({ "field": field, "op": op, "value": value });
        match self.random.random_range(0..4) {
            0 => json!({ "not": leaf }),
            1 => json!({ "and": [leaf, self.filter()] }),
            _ => leaf,
        }
    }

    pub(super) fn path(&mut self, template: &str) -> String {
        let mut path = template.to_owned();
        while let Some(from) = path.find('{') {
            let to = from + path[from..].find('}').unwrap();
            let name = path[from + 1..to].trim_start_matches('*').to_owned();
            let some = |maker: &mut Self, known: &[&str]| -> String {
                if maker.one_in(10) {
                    return (*["none", "%00", "%FF", "x%20y", "A"].choose(&mut maker.random).unwrap()).to_owned();
                }
                (*known.choose(&mut maker.random).unwrap()).to_owned()
            };
            let value = match name.as_str() {
                "plugin" | "name" => some(self, &["inventory", "probe"]),
                "collection" => some(self, &["items", "movements", "notes", "values", "people"]),
                "version" => some(self, &["0.1.0", "1.0.0", "1"]),
                "queue" => some(self, &["low", "*"]),
                "kind" => some(self, &["ping"]),
                "type" => some(self, &["user.created"]),
                "file" => some(self, &["index.html"]),
                "path" => some(self, &["echo/word", "notes"]),
                "key" => some(self, &["a.txt"]),
                _ => self.id(),
            };
            path.replace_range(from..=to, &value);
        }
        path
    }

    pub(super) fn query(&mut self, parameters: &[(String, Value)]) -> Vec<(String, String)> {
        let count = [0, 1, 1, 2, 3].choose(&mut self.random).copied().unwrap();
        let some: Vec<&(String, Value)> = parameters.sample(&mut self.random, count).collect();
        let some = some
            .into_iter()
            .filter(|(name, _)| name != "page[after]" && name != "page[before]" && !name.contains("hint"));
        some.map(|(name, schema)| {
            let value = match self.of(schema, 0) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (name.clone(), value)
        })
        .collect()
    }
}
