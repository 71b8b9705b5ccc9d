//! JSON Schemas of plugins and of the platform: compiled once, never fetched from anywhere, their
//! patterns matched in linear time. A validator cannot be interrupted, so the cost of a
//! validation is known before it begins, and one that would take too long is refused.

mod cost;
mod message;
mod whole;

use std::time::Duration;

use jsonschema::{Draft, PatternOptions, Validator};
use purlin_domain::{Json, error::Violation, id::TenantId};
use purlin_store::shares::{NoShare, Shares};

use self::cost::{Plan, STEPS_MAX};

/// Violations told of one document at most.
const TOLD_MAX: usize = 20;
/// Bytes of one pattern, compiled.
const PATTERN_BYTES_MAX: usize = 128 << 10;
/// Steps that are taken on the spot; a longer validation must not keep other requests waiting.
const STEPS_ON_THE_SPOT: u64 = 20_000;
/// How long a validation waits for its turn: twenty of the longest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A compiled schema.
pub struct Schema {
    validator: Validator,
    plan: Plan,
}

impl Schema {
    /// Compile a schema; what is wrong with it otherwise, with pointers into it.
    pub fn compile(schema: &Json) -> Result<Self, Vec<Violation>> {
        let plan = Plan::of(schema)?;
        let validator = build(schema, PATTERN_BYTES_MAX).map_err(|error| {
            vec![Violation::new(error.instance_path().as_str(), "schema", message::cut(&error.to_string()))]
        })?;
        Ok(Self { validator, plan })
    }

    /// A format that means nothing here.
    pub(crate) fn unknown_format(&self) -> Option<Violation> {
        self.plan.unknown_format()
    }

    /// How many subschemas it has, and how many patterns: what it takes of memory.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.plan.size()
    }

    /// What is wrong with a document of a tenant. Long validations are divided between tenants.
    pub(crate) async fn violations_in_turn(
        &self,
        turns: &Shares<TenantId>,
        tenant: TenantId,
        document: &Json,
    ) -> Result<Vec<Violation>, NoShare> {
        let steps = self.plan.steps(document);
        if steps <= STEPS_ON_THE_SPOT || steps > STEPS_MAX {
            return Ok(self.violations(document));
        }
        let _turn = Box::pin(turns.take(&tenant, PATIENCE)).await?;
        Ok(self.violations(document))
    }

    /// What is wrong with a document.
    pub fn violations(&self, document: &Json) -> Vec<Violation> {
        let steps = self.plan.steps(document);
        if steps > STEPS_MAX {
            return vec![too_costly()];
        }
        if steps <= STEPS_ON_THE_SPOT { self.check(document) } else { in_place(|| self.check(document)) }
    }

    fn check(&self, document: &Json) -> Vec<Violation> {
        let mut found: Vec<Violation> = Vec::new();
        if !self.validator.is_valid(document) {
            found.extend(self.validator.iter_errors(document).take(TOLD_MAX).flat_map(|error| message::of(&error)));
            found.truncate(TOLD_MAX);
        }
        found
    }
}

/// Do what takes long; on a runtime of several threads others go on with the tasks of this one.
pub(crate) fn in_place<T>(long: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    if Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread) {
        tokio::task::block_in_place(long)
    } else {
        long()
    }
}

fn build(schema: &Json, pattern_bytes: usize) -> Result<Validator, jsonschema::ValidationError<'static>> {
    let patterns = PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(PATTERN_BYTES_MAX);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(patterns)
        .with_keyword(whole::KEYWORD, |_, _, _| Ok(Box::new(whole::Whole)))
        .build(&whole::required(schema))
}

fn too_costly() -> Violation {
    let why = format!("to check this against its schema takes more than {STEPS_MAX} steps; send less at once");
    Violation::new("", "schema_cost", why)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn refused(schema: &Json) -> String {
        Schema::compile(schema).err().unwrap().first().unwrap().detail.clone()
    }

    fn doubling(times: usize) -> Json {
        let mut defs = serde_json::Map::new();
        defs.insert("a0".to_owned(), json!({ "type": "object" }));
        for i in 1..=times {
            let before = json!({ "$ref": format!("#/$defs/a{}", i - 1) });
            defs.insert(format!("a{i}"), json!({ "allOf": [before, before] }));
        }
        json!({ "$defs": defs, "allOf": [{ "$ref": format!("#/$defs/a{times}") }], "properties": {} })
    }

    #[test]
    fn a_schema_that_expands_without_end_is_refused_with_the_figure() {
        let detail = refused(&doubling(24));
        assert!(detail.contains("expands"), "{detail}");
        assert!(refused(&doubling(60)).contains("expands"));
        assert!(Schema::compile(&doubling(5)).is_ok());
        assert!(refused(&json!({ "$ref": "#" })).contains("refers to itself"));
        assert!(refused(&json!({ "allOf": [{ "$ref": "https://example.org/schema" }] })).contains("JSON Pointer"));
        let tree = json!({ "properties": { "children": { "items": { "$ref": "#" } } } });
        assert!(Schema::compile(&tree).is_ok(), "one that goes into the value is sound");
    }

    #[test]
    fn a_pattern_that_grows_too_large_is_refused_where_it_stands() {
        for schema in [
            json!({ "properties": { "a": { "pattern": r"((\w{100}){100}){10}" } } }),
            json!({ "patternProperties": { r"((\w{100}){100}){10}": {} } }),
        ] {
            let wrong = Schema::compile(&schema).err().unwrap();
            assert!(wrong[0].detail.contains("too large"), "{wrong:?}");
            assert!(wrong[0].pointer.contains("attern"), "{wrong:?}");
        }
        let wrong = Schema::compile(&json!({ "properties": { "a": { "pattern": "(" } } })).err().unwrap();
        assert_eq!(wrong[0].pointer, "/properties/a/pattern");
        assert!(!wrong[0].detail.contains("too large"), "{wrong:?}");
    }

    #[test]
    fn what_takes_too_long_is_refused_before_it_begins() {
        let branches: Vec<Json> = (0..500).map(|i| json!({ "const": i })).collect();
        let nested = json!({ "$defs": { "t": { "allOf": [
            { "items": { "$ref": "#/$defs/t" } }, { "items": { "$ref": "#/$defs/t" } }] } }, "$ref": "#/$defs/t" });
        let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
        let text = "a".repeat(100_000);
        let heavy = json!({ "pattern": r"((\w{10}){10}){10}x" });
        for (schema, document) in [
            (json!({ "items": { "oneOf": branches } }), Json::from(vec![json!("x"); 20_000])),
            (nested, deep),
            (heavy, json!(text)),
        ] {
            let schema = Schema::compile(&schema).ok().unwrap();
            let began = Instant::now();
            assert_eq!(schema.violations(&document)[0].code, "schema_cost");
            assert!(began.elapsed().as_millis() < 2_000, "{:?}", began.elapsed());
        }
        let ordinary = json!({ "items": { "type": "object", "properties": { "a": { "type": "string" } } } });
        let many = Json::from(vec![json!({ "a": "x" }); 20_000]);
        assert!(Schema::compile(&ordinary).ok().unwrap().violations(&many).is_empty());
    }

    /// What it is, the schema, and how a document of a size is made.
    type Worst = (&'static str, Json, fn(usize) -> Json);

    /// Schemas that make the validator do as much as they can, each with how a document of a size is made.
    fn worst() -> Vec<Worst> {
        let items = |schema: Json| json!({ "items": schema });
        let listed: Vec<Json> = (0..500).map(|i| json!({ "const": format!("{i:0>100}") })).collect();
        let wide: Vec<Json> = (0..300)
            .map(|i| json!({ "required": [format!("k{i}")], "properties": { "a": { "type": "null" } } }))
            .collect();
        let mut doubled = doubling(10);
        doubled["$defs"]["a0"] = json!({ "type": "object", "required": ["x"], "minProperties": 3 });
        let doubled = json!({ "$defs": doubled["$defs"], "items": { "$ref": "#/$defs/a10" } });
        let patterns: Vec<Json> =
            (0..100).map(|i| json!({ "pattern": format!(r"(\w{{{}}}\s?)+x$", 20 + i % 10) })).collect();
        let names: serde_json::Map<String, Json> =
            (0..90).map(|i| (format!("^(a|b)*{i}$"), json!({ "type": "integer" }))).collect();
        vec![
            ("many constants", items(json!({ "oneOf": listed })), |n| json!(vec!["x".repeat(100); n])),
            ("many forms", items(json!({ "anyOf": wide })), |n| json!(vec![json!({ "a": 1 }); n])),
            ("references that double", doubled, |n| json!(vec![json!({ "y": 1 }); n])),
            ("many patterns", json!({ "allOf": patterns }), |n| json!("ab ".repeat(n))),
            ("a large pattern", json!({ "pattern": r"(\w{20}){5}(\d|x)*$" }), |n| json!("a".repeat(n))),
            ("names by patterns", json!({ "patternProperties": names }), |n| {
                (0..n).map(|i| (format!("{}{i}", "ab".repeat(20)), json!("x"))).collect()
            }),
            ("items compared", json!({ "uniqueItems": true }), |n| (0..n).map(|i| json!({ "a": [i, "x"] })).collect()),
            (
                "unevaluated",
                json!({ "allOf": [{ "properties": { "a": {} } }], "unevaluatedProperties": { "type": "null" } }),
                |n| (0..n).map(|i| (format!("k{i}"), json!(1))).collect(),
            ),
            ("formats", items(json!({ "format": "date-time" })), |n| json!(vec!["2026-01-01T00:00:00Z"; n])),
            ("mail addresses", items(json!({ "format": "idn-email" })), |n| json!(vec!["a.b@m\u{fc}nchen.example"; n])),
        ]
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "figures that are measured are shown")]
    fn the_worst_schema_and_document_that_are_accepted_take_a_quarter_of_a_second() {
        for (what, schema, document) in worst() {
            let schema = Schema::compile(&schema).unwrap_or_else(|wrong| panic!("{what}: {wrong:?}"));
            // The largest document that is accepted, and fits into a request.
            let (mut low, mut high) = (1_usize, 1 << 20);
            while low < high {
                let middle = (low + high).div_ceil(2);
                let candidate = document(middle);
                let fits = candidate.to_string().len() <= 1 << 20;
                if fits && schema.plan.steps(&candidate) <= STEPS_MAX { low = middle } else { high = middle - 1 }
            }
            let largest = document(low);
            let began = Instant::now();
            let found = schema.violations(&largest);
            let took = began.elapsed();
            println!("{what}: {low}, {} steps, {took:?}, {} faults", schema.plan.steps(&largest), found.len());
            assert!(found.iter().all(|fault| fault.code != "schema_cost"), "{what}");
            // A figure of releases; a development build is several times slower.
            let most = if cfg!(debug_assertions) { 20_000 } else { 250 };
            assert!(took.as_millis() <= most, "{what}: {took:?}");
        }
    }

    #[test]
    fn every_fault_is_told_where_it_stands_in_plain_words() {
        let schema = json!({
            "type": "object",
            "properties": {
                "n": { "type": "integer", "minimum": 0 },
                "s": { "type": ["string", "null"], "maxLength": 3 },
                "e": { "enum": ["a", "b"] },
                "o": { "anyOf": [{ "type": "object", "properties": { "k": { "type": "integer" } } }, { "type": "null" }] },
            },
            "required": ["r"],
            "additionalProperties": false,
        });
        let schema = Schema::compile(&schema).ok().unwrap();
        let document = json!({ "n": "x".repeat(100_000), "s": 5, "e": "c", "o": { "k": "x" }, "a/b": 1 });
        let mut told: Vec<(String, String)> =
            schema.violations(&document).into_iter().map(|v| (v.pointer, v.detail)).collect();
        told.sort();
        let expected = [
            ("/a~1b", "unknown property"),
            ("/e", "expected one of \"a\", \"b\""),
            ("/n", "expected an integer"),
            ("/o/k", "expected an integer"),
            ("/r", "this property is required"),
            ("/s", "expected a string or null"),
        ];
        assert_eq!(told, expected.map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned())));
        assert_eq!(schema.violations(&json!({ "r": 1, "n": -1 }))[0].detail, "must be at least 0");
    }

    #[test]
    fn a_whole_number_that_no_integer_can_hold_is_refused() {
        let schema =
            Schema::compile(&json!({ "properties": { "n": { "type": "integer" }, "x": { "type": "number" } } }));
        let schema = schema.ok().unwrap();
        let in_any_place = [
            json!({ "type": ["integer", "null"] }),
            json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }),
            json!({ "oneOf": [{ "$ref": "#/$defs/whole" }, { "type": "string" }] }),
            json!({ "if": { "type": "number" }, "then": { "type": "integer" } }),
        ];
        for form in in_any_place {
            let schema = json!({ "$defs": { "whole": { "type": "integer" } }, "properties": { "n": form }, "patternProperties": { "^p": form } });
            let schema = Schema::compile(&schema).ok().unwrap();
            for name in ["n", "p1"] {
                let codes: Vec<String> =
                    schema.violations(&json!({ name: 1e300 })).into_iter().map(|v| v.code).collect();
                assert_eq!(codes, ["number_range"], "{form} in {name}");
                assert!(schema.violations(&json!({ name: 7 })).is_empty(), "{form} in {name}");
            }
        }
        // Where a form takes any number, it is good; and values of the schema are no schemas.
        for (form, good) in [
            (json!({ "type": ["integer", "number"] }), json!(1e300)),
            (json!({ "anyOf": [{ "type": "integer" }, { "minimum": 1e200 }] }), json!(1e300)),
            (json!({ "const": { "type": "integer" } }), json!({ "type": "integer" })),
            (json!({ "properties": { "const": { "type": "integer" } } }), json!({ "const": 1 })),
        ] {
            assert!(Schema::compile(&form).ok().unwrap().violations(&good).is_empty(), "{form}");
        }
        let wrong = schema.violations(&json!({ "n": 1e300 }));
        assert_eq!((wrong[0].pointer.as_str(), wrong[0].code.as_str()), ("/n", "number_range"));
        assert!(schema.violations(&json!({ "n": i64::MAX, "x": 1e300 })).is_empty());
    }
}
