//! Documents: JSON as it is accepted, from requests and from guests alike. What is accepted can
//! be put into other documents, stored in either database, and read back as it is.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{Json, error::Violation, number::Number};

/// How deep a document may nest. Far below the 128 levels that are read back, so that a document
/// can be wrapped into events, audit rows and answers.
pub const DEPTH_MAX: usize = 64;

/// Read a document, its numbers in their one form; or what is wrong with it, and where.
pub fn read(text: &[u8]) -> Result<Json, Violation> {
    let mut document: Json = match serde_json::from_slice(text) {
        Ok(document) => document,
        Err(_) if depth(text) > DEPTH_MAX => return Err(too_deep()),
        Err(error) => {
            // A number that no double can hold is one to be refused like others.
            if let Ok(raw) = serde_json::from_slice(text) {
                within_range(raw)?;
            }
            return Err(Violation::new("", "json", format!("this is not JSON: {error}")));
        }
    };
    let mut is_large = false;
    normalize(&mut document, 0, &mut is_large)?;
    // A whole number of more than 64 bits reads as a double; so its text has to be looked at.
    if is_large && let Ok(raw) = serde_json::from_slice(text) {
        within_range(raw)?;
    }
    Ok(document)
}

/// The numbers of a document that was stored, in their one form: PostgreSQL has no doubles in a
/// document and gives 1e19 back as a whole number.
pub fn restore(document: &mut Json) {
    match document {
        Json::Number(number) if number.as_i64().is_none() => {
            if let Some(number) = Number::of_json(number) {
                *document = number.to_json();
            }
        }
        Json::Array(items) => items.iter_mut().for_each(restore),
        Json::Object(members) => members.values_mut().for_each(restore),
        _ => {}
    }
}

fn normalize(document: &mut Json, depth: usize, is_large: &mut bool) -> Result<(), Violation> {
    match document {
        Json::Array(_) | Json::Object(_) if depth == DEPTH_MAX => return Err(too_deep()),
        Json::String(text) if text.contains('\0') => return Err(nul()),
        Json::Number(number) if number.as_i64().is_none() => match Number::of_json(number) {
            Some(number) => {
                *is_large |= number.nearest_double().abs() >= 1e18;
                *document = number.to_json();
            }
            None => return Err(out_of_range()),
        },
        Json::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                normalize(item, depth + 1, is_large).map_err(|v| v.beneath(&i.to_string()))?;
            }
        }
        Json::Object(members) => {
            for (name, value) in members {
                if name.contains('\0') {
                    return Err(nul());
                }
                normalize(value, depth + 1, is_large).map_err(|v| v.beneath(name))?;
            }
        }
        Json::String(_) | Json::Number(_) | Json::Null | Json::Bool(_) => {}
    }
    Ok(())
}

/// Whether a number is a whole one of 64 bits, or one that a double can hold.
fn is_within(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) {
        number.parse::<f64>().is_ok_and(f64::is_finite)
    } else {
        number.parse::<i64>().is_ok()
    }
}

/// Refuse the first number that is neither.
fn within_range(raw: &RawValue) -> Result<(), Violation> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            for (i, item) in items.into_iter().enumerate() {
                within_range(item).map_err(|v| v.beneath(&i.to_string()))?;
            }
        }
        Some(b'{') => {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).unwrap_or_default();
            for (name, value) in members {
                within_range(value).map_err(|v| v.beneath(&name))?;
            }
        }
        Some(b'-' | b'0'..=b'9') if !is_within(text) => return Err(out_of_range()),
        _ => {}
    }
    Ok(())
}

/// How deep a text nests, JSON or not.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn too_deep() -> Violation {
    Violation::new("", "depth", format!("a document nests at most {DEPTH_MAX} levels deep"))
}

fn out_of_range() -> Violation {
    Violation::new(
        "",
        "number_range",
        format!("a whole number must be between {} and {}, any other one finite as a double", i64::MIN, i64::MAX),
    )
}

fn nul() -> Violation {
    Violation::new("", "value", NUL)
}

/// Why PostgreSQL, and so the host, takes no such text.
pub const NUL: &str = "text cannot contain the character U+0000";

/// About how many bytes a document takes as text, without writing it.
pub fn weight(document: &Json) -> usize {
    match document {
        Json::Null | Json::Bool(_) => 5,
        Json::Number(_) => 8,
        Json::String(text) => text.len() + 2,
        Json::Array(items) => 2 + items.iter().map(|item| weight(item) + 1).sum::<usize>(),
        Json::Object(members) => 2 + members.iter().map(|(name, value)| name.len() + 4 + weight(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(text: &str) -> (String, String) {
        let violation = read(text.as_bytes()).unwrap_err();
        (violation.code, violation.pointer)
    }

    #[test]
    fn numbers_are_read_in_their_one_form() {
        let read = read(br#"{"a": [40.0, -0.0, 1e2, 1.5], "b": 1e300, "c": 1e19, "d": -9223372036854775808}"#).unwrap();
        assert_eq!(read, json!({"a": [40, 0, 100, 1.5], "b": 1e300, "c": 1e19, "d": i64::MIN}));
    }

    #[test]
    fn a_whole_number_beyond_64_bits_is_refused_where_it_stands() {
        let at = |pointer: &str| ("number_range".to_owned(), pointer.to_owned());
        assert_eq!(wrong(r#"{"a/b": [1, {"c": 123456789012345678901234567890}]}"#), at("/a~1b/1/c"));
        assert_eq!(wrong("9223372036854775808"), at(""));
        assert_eq!(wrong("[-9223372036854775809]"), at("/0"));
        assert_eq!(wrong("[18446744073709551616]"), at("/0"));
    }

    #[test]
    fn what_nests_too_deep_is_refused_however_deep() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(nested(DEPTH_MAX).as_bytes()).is_ok());
        for levels in [DEPTH_MAX + 1, 127, 128, 500, 100_000] {
            assert_eq!(wrong(&nested(levels)).0, "depth", "{levels}");
        }
        assert_eq!(wrong("[\"[[[").0, "json");
    }

    #[test]
    fn a_nul_is_found_where_it_stands() {
        assert_eq!(wrong(r#"{"a": [{"b": "x\u0000"}]}"#), ("value".to_owned(), "/a/0/b".to_owned()));
        assert_eq!(wrong(r#"{"a\u0000": 1}"#), ("value".to_owned(), String::new()));
    }

    #[test]
    fn what_postgresql_gives_back_of_a_double_is_the_double() {
        let mut stored = json!({ "a": [10_000_000_000_000_000_000_u64, 5] });
        restore(&mut stored);
        assert_eq!(stored, json!({ "a": [1e19, 5] }));
    }
}
