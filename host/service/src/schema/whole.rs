//! What an integer is: JSON Schema takes 1e300 for one, and no program that asks for integers can. A
//! keyword of the host's own stands beside each `integer` of a schema and refuses such numbers,
//! wherever in the schema that is.

use jsonschema::{Keyword, ValidationError};
use purlin_domain::{Json, number::Number};

/// The keyword.
pub(super) const KEYWORD: &str = "purlin:whole";

/// Refuses whole numbers that are kept as doubles, beyond 64 bits.
pub(super) struct Whole;

impl<'i> Keyword<'i> for Whole {
    fn validate(&self, document: &'i Json) -> Result<(), ValidationError<'i>> {
        if Keyword::is_valid(self, document) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("a whole number must be between {} and {}", i64::MIN, i64::MAX)))
    }

    fn is_valid(&self, document: &'i Json) -> bool {
        let Json::Number(number) = document else { return true };
        !matches!(Number::of_json(number), Some(Number::Double(double)) if double.fract() == 0.0)
    }
}

/// The schema with the keyword wherever it asks for integers and not for other numbers.
pub(super) fn required(schema: &Json) -> Json {
    match schema {
        Json::Object(members) => {
            let mut changed: serde_json::Map<String, Json> =
                members.iter().map(|(name, part)| (name.clone(), beneath(name, part))).collect();
            if members.get("type").is_some_and(is_integer) {
                changed.insert(KEYWORD.to_owned(), Json::Bool(true));
            }
            Json::Object(changed)
        }
        Json::Array(parts) => parts.iter().map(required).collect(),
        other => other.clone(),
    }
}

/// The value of a keyword: values are kept as they are, and in some the members are schemas by names.
fn beneath(keyword: &str, part: &Json) -> Json {
    match (keyword, part) {
        ("const" | "enum" | "default" | "examples", value) => value.clone(),
        ("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas", Json::Object(named)) => {
            Json::Object(named.iter().map(|(name, schema)| (name.clone(), required(schema))).collect())
        }
        (_, part) => required(part),
    }
}

fn is_integer(kind: &Json) -> bool {
    let names = |name: &str| match kind {
        Json::Array(kinds) => kinds.iter().any(|kind| kind == name),
        kind => kind == name,
    };
    names("integer") && !names("number")
}
