//! The filter tree: one grammar for lists over HTTP, for guests' queries, and for
//! evaluation in memory.
//!
//! Comparison follows SQL: a missing value is unknown, and what is unknown does not
//! match, nor does its negation.

mod field;

use std::cmp::Ordering;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Json, Timestamp,
    clock::to_micros,
    document::{self, NUL},
    error::Violation,
    number::Number,
    text::folded,
};

pub use field::{Field, FieldType, Form, Source};

/// Predicates of one filter at most.
pub const PREDICATES_MAX: usize = 20;
/// Items of one `in` or `nin` at most.
pub const ITEMS_MAX: usize = 100;
const DEPTH_MAX: usize = 8;
/// Bytes and wildcards of one pattern at most.
const PATTERN_BYTES_MAX: usize = 200;
const WILDCARDS_MAX: usize = 8;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// One of a list.
    In,
    /// None of a list.
    Nin,
    /// Matches a pattern in which `*` stands for any text.
    Like,
    /// The same without regard to case (Unicode: NFKC, full case folding).
    Ilike,
    /// Missing (`true`) or present (`false`).
    Null,
}

/// As how many predicates one with a pattern counts: it reads each text letter by letter.
const PATTERN_COST: usize = 4;

impl Op {
    /// As how many predicates one with this comparison counts.
    pub fn cost(self) -> usize {
        if matches!(self, Self::Like | Self::Ilike) { PATTERN_COST } else { 1 }
    }

    /// The operator of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "gte" => Self::Gte,
            "lt" => Self::Lt,
            "lte" => Self::Lte,
            "in" => Self::In,
            "nin" => Self::Nin,
            "like" => Self::Like,
            "ilike" => Self::Ilike,
            "null" => Self::Null,
            _ => return None,
        })
    }
}

/// A typed value to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Text.
    Text(String),
    /// A number.
    Number(Number),
    /// True or false.
    Boolean(bool),
    /// An instant.
    Timestamp(Timestamp),
    /// A UUID.
    Uuid(Uuid),
}

impl Operand {
    /// The JSON value as one of this type, or why it is not.
    pub fn of(field_type: FieldType, value: &Json) -> Result<Self, String> {
        match (field_type, value) {
            (FieldType::Text, Json::String(text)) => Ok(Self::Text(text.clone())),
            (FieldType::Number, Json::Number(number)) => {
                Number::of_json(number).map(Self::Number).ok_or_else(|| format!("{number} is out of range"))
            }
            (FieldType::Boolean, Json::Bool(value)) => Ok(Self::Boolean(*value)),
            (FieldType::Timestamp, Json::String(text)) => {
                instant(text).map(Self::Timestamp).ok_or_else(|| "expected an RFC 3339 time".to_owned())
            }
            (FieldType::Uuid, Json::String(text)) => {
                text.parse().map(Self::Uuid).map_err(|_| "expected a UUID".to_owned())
            }
            _ => Err(format!("expected a {}", type_name(field_type))),
        }
    }

    /// The text of a query parameter as one of this type, or why it is not.
    pub fn parse(field_type: FieldType, text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err(NUL.to_owned());
        }
        let value = match field_type {
            FieldType::Number => match document::read(text.as_bytes()) {
                Ok(Json::Number(number)) => Json::Number(number),
                Err(violation) if violation.code == "number_range" => return Err(violation.detail),
                _ => return Err("expected a number".to_owned()),
            },
            FieldType::Boolean => {
                text.parse::<bool>().map(Json::Bool).map_err(|_| "expected true or false".to_owned())?
            }
            FieldType::Text | FieldType::Timestamp | FieldType::Uuid => json!(text),
        };
        Self::of(field_type, &value)
    }

    /// As JSON, the way it is written in a filter.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => number.to_json(),
            Self::Boolean(value) => json!(value),
            Self::Timestamp(time) => json!(time),
            Self::Uuid(id) => json!(id),
        }
    }

    /// How two of a type compare; none for different types.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::Boolean(a), Self::Boolean(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Uuid(a), Self::Uuid(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// The instant that a text tells of, to the microsecond, as databases keep it.
pub fn instant(text: &str) -> Option<Timestamp> {
    Some(to_micros(DateTime::parse_from_rfc3339(text).ok()?.to_utc()))
}

fn type_name(field_type: FieldType) -> &'static str {
    match field_type {
        FieldType::Text => "text",
        FieldType::Number => "number",
        FieldType::Boolean => "boolean",
        FieldType::Timestamp => "time",
        FieldType::Uuid => "UUID",
    }
}

/// A checked filter over known fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every one holds; none at all holds always.
    And(Vec<Filter>),
    /// At least one holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A field compared with values: one, or a list for `In` and `Nin`.
    Is(Field, Op, Vec<Operand>),
}

impl Filter {
    /// The filter that lets everything pass.
    pub fn everything() -> Self {
        Self::And(Vec::new())
    }

    /// Read a filter tree, check its fields, operators, types and size.
    pub fn parse(tree: &Json, fields: &[Field]) -> Result<Self, Violation> {
        let mut budget = PREDICATES_MAX;
        parse(tree, fields, "", &mut budget, 0)
    }

    /// Check one predicate: field and operator known, the operands of the right type and number.
    pub fn predicate(field: &Field, op: Op, mut operands: Vec<Operand>, pointer: &str) -> Result<Self, Violation> {
        let wrong = |detail: String| Violation::new(pointer, "operator", detail);
        match op {
            Op::Like | Op::Ilike if field.field_type != FieldType::Text => {
                return Err(wrong(format!("`{}` is not text, so it cannot be matched with a pattern", field.name)));
            }
            Op::Ilike if field.form == Form::Key => {
                return Err(wrong(format!("`{}` is a key, and its case matters: use `like`", field.name)));
            }
            Op::In | Op::Nin if operands.is_empty() || operands.len() > ITEMS_MAX => {
                return Err(wrong(format!("give 1 to {ITEMS_MAX} values")));
            }
            Op::Like | Op::Ilike => {
                if let Some(Operand::Text(pattern)) = operands.first()
                    && (pattern.len() > PATTERN_BYTES_MAX || literals(pattern).len() > WILDCARDS_MAX + 1)
                {
                    return Err(wrong(format!(
                        "a pattern has at most {PATTERN_BYTES_MAX} bytes and {WILDCARDS_MAX} wildcards"
                    )));
                }
                if operands.len() != 1 {
                    return Err(wrong("give exactly one value".to_owned()));
                }
            }
            Op::In | Op::Nin => {}
            _ if operands.len() != 1 => return Err(wrong("give exactly one value".to_owned())),
            _ => {}
        }
        if !matches!(op, Op::Like | Op::Ilike) {
            for operand in &mut operands {
                if let Operand::Text(text) = operand {
                    field.form.admit(text).map_err(|why| Violation::new(pointer, "value", why))?;
                }
            }
        }
        Ok(Self::Is(field.clone(), op, operands))
    }

    /// Whether something with these values passes. `value` gives the value of a field,
    /// none where it is missing.
    pub fn matches(&self, value: &dyn Fn(&Field) -> Option<Operand>) -> bool {
        self.holds(value) == Some(true)
    }

    fn holds(&self, value: &dyn Fn(&Field) -> Option<Operand>) -> Option<bool> {
        match self {
            Self::And(parts) => all(parts.iter().map(|part| part.holds(value))),
            Self::Or(parts) => all(parts.iter().map(|part| part.holds(value).map(|held| !held))).map(|none| !none),
            Self::Not(part) => part.holds(value).map(|held| !held),
            Self::Is(field, op, operands) => compare(value(field), *op, operands),
        }
    }
}

/// SQL's AND: false if any is false, else unknown if any is unknown.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut held = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => held = None,
            Some(true) => {}
        }
    }
    held
}

fn compare(value: Option<Operand>, op: Op, operands: &[Operand]) -> Option<bool> {
    let first = operands.first()?;
    if op == Op::Null {
        return Some(Operand::Boolean(value.is_none()) == *first);
    }
    let value = value?;
    let ordering = || value.compare(first);
    match op {
        Op::Eq => ordering().map(Ordering::is_eq),
        Op::Ne => ordering().map(Ordering::is_ne),
        Op::Gt => ordering().map(Ordering::is_gt),
        Op::Gte => ordering().map(Ordering::is_ge),
        Op::Lt => ordering().map(Ordering::is_lt),
        Op::Lte => ordering().map(Ordering::is_le),
        Op::In => Some(operands.iter().any(|o| value.compare(o) == Some(Ordering::Equal))),
        Op::Nin => Some(operands.iter().all(|o| value.compare(o) != Some(Ordering::Equal))),
        Op::Like | Op::Ilike => match (&value, first) {
            (Operand::Text(text), Operand::Text(pattern)) if op == Op::Like => Some(like(text, &literals(pattern))),
            (Operand::Text(text), Operand::Text(pattern)) => Some(like(&folded(text), &folded_literals(pattern))),
            _ => None,
        },
        Op::Null => None,
    }
}

/// The texts between the wildcards of a pattern: `*` stands for any text, and `\` before a `*`, a `,`
/// or a `\` for just that letter.
pub fn literals(pattern: &str) -> Vec<String> {
    let (mut all, mut text, mut letters) = (Vec::new(), String::new(), pattern.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '*' => all.push(std::mem::take(&mut text)),
            '\\' => text.push(letters.next_if(|next| is_escaped(*next)).unwrap_or('\\')),
            letter => text.push(letter),
        }
    }
    all.push(text);
    all
}

/// The same without regard to case: as they are in folded texts.
pub fn folded_literals(pattern: &str) -> Vec<String> {
    literals(pattern).iter().map(|literal| folded(literal)).collect()
}

/// The values of a list as a query string has it: `,` parts them, and `\` before a `,`, a `*` or a
/// `\` stands for just that letter.
pub fn values(list: &str) -> Vec<String> {
    let (mut all, mut text, mut letters) = (Vec::new(), String::new(), list.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            ',' => all.push(std::mem::take(&mut text)),
            '\\' => text.push(letters.next_if(|next| is_escaped(*next)).unwrap_or('\\')),
            letter => text.push(letter),
        }
    }
    all.push(text);
    all
}

fn is_escaped(letter: char) -> bool {
    matches!(letter, '*' | ',' | '\\')
}

/// Whether a text matches the pattern with these literals. Greedy per part, so linear in the text for each part.
fn like(text: &str, parts: &[String]) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        match rest.find(part.as_str()) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

fn parse(tree: &Json, fields: &[Field], pointer: &str, budget: &mut usize, depth: usize) -> Result<Filter, Violation> {
    if depth > DEPTH_MAX {
        return Err(Violation::new(pointer, "depth", format!("filters nest at most {DEPTH_MAX} deep")));
    }
    let shape = || {
        Violation::new(pointer, "shape", r#"write {"and":[…]}, {"or":[…]}, {"not":…} or {"field":…,"op":…,"value":…}"#)
    };
    let object = tree.as_object().ok_or_else(shape)?;
    let mut list = |key: &str, items: &Json| -> Result<Vec<Filter>, Violation> {
        let items = items.as_array().filter(|items| !items.is_empty()).ok_or_else(shape)?;
        items
            .iter()
            .enumerate()
            .map(|(i, item)| parse(item, fields, &format!("{pointer}/{key}/{i}"), budget, depth + 1))
            .collect()
    };
    match (object.len(), object.get("and"), object.get("or"), object.get("not")) {
        (1, Some(items), _, _) => Ok(Filter::And(list("and", items)?)),
        (1, _, Some(items), _) => Ok(Filter::Or(list("or", items)?)),
        (1, _, _, Some(part)) => {
            Ok(Filter::Not(Box::new(parse(part, fields, &format!("{pointer}/not"), budget, depth + 1)?)))
        }
        _ => {
            let op = object.get("op").and_then(Json::as_str).and_then(Op::parse);
            *budget = budget.checked_sub(op.map_or(1, Op::cost)).ok_or_else(|| too_many(pointer))?;
            leaf(object, fields, pointer).map_err(|v| v.unwrap_or_else(shape))
        }
    }
}

fn too_many(pointer: &str) -> Violation {
    let why = format!("a filter has at most {PREDICATES_MAX} predicates; one with a pattern counts as {PATTERN_COST}");
    Violation::new(pointer, "size", why)
}

fn leaf(object: &serde_json::Map<String, Json>, fields: &[Field], pointer: &str) -> Result<Filter, Option<Violation>> {
    let (Some(Json::String(name)), Some(Json::String(op)), Some(value), 3) =
        (object.get("field"), object.get("op"), object.get("value"), object.len())
    else {
        return Err(None);
    };
    let field = fields.iter().find(|f| f.name == *name && f.filterable).ok_or_else(|| {
        Violation::new(format!("{pointer}/field"), "field", format!("`{name}` is not a field to filter by"))
    })?;
    let op = Op::parse(op)
        .ok_or_else(|| Violation::new(format!("{pointer}/op"), "operator", format!("`{op}` is not an operator")))?;
    let at = format!("{pointer}/value");
    let operand = |v: &Json| {
        let wanted = if op == Op::Null { FieldType::Boolean } else { field.field_type };
        Operand::of(wanted, v).map_err(|why| Violation::new(at.clone(), "type", why))
    };
    let operands = match (op, value) {
        (Op::In | Op::Nin, Json::Array(items)) => items.iter().map(operand).collect::<Result<_, _>>()?,
        _ => vec![operand(value)?],
    };
    Ok(Filter::predicate(field, op, operands, &at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        let data = |name: &str, field_type| Field { source: Source::Data, ..Field::column(name, field_type) };
        vec![data("sku", FieldType::Text), data("stock", FieldType::Number), data("active", FieldType::Boolean)]
    }

    fn matches(filter: impl std::borrow::Borrow<Json>, data: &Json) -> bool {
        let filter = Filter::parse(filter.borrow(), &fields()).unwrap();
        filter.matches(&|field| data.get(&field.name).and_then(|v| Operand::of(field.field_type, v).ok()))
    }

    #[test]
    fn predicates_compare_by_type() {
        let item = json!({"sku": "AB-1", "stock": 9, "active": true});
        assert!(matches(json!({"field": "stock", "op": "lt", "value": 10}), &item));
        assert!(!matches(json!({"field": "stock", "op": "gt", "value": 9}), &item));
        assert!(matches(json!({"field": "sku", "op": "like", "value": "A*1"}), &item));
        assert!(!matches(json!({"field": "sku", "op": "like", "value": "a*1"}), &item));
        assert!(matches(json!({"field": "sku", "op": "ilike", "value": "a*"}), &item));
        assert!(matches(json!({"field": "sku", "op": "in", "value": ["X", "AB-1"]}), &item));
        assert!(matches(
            json!({"or": [{"field": "stock", "op": "eq", "value": 1}, {"field": "active", "op": "eq", "value": true}]}),
            &item
        ));
    }

    #[test]
    fn what_is_missing_is_unknown_and_does_not_match_either_way() {
        let item = json!({"sku": "A"});
        let stock = json!({"field": "stock", "op": "gt", "value": 0});
        assert!(!matches(stock.clone(), &item));
        assert!(!matches(json!({ "not": stock }), &item));
        assert!(matches(json!({"field": "stock", "op": "null", "value": true}), &item));
        assert!(matches(json!({"field": "sku", "op": "null", "value": false}), &item));
    }

    #[test]
    fn a_filter_says_what_is_wrong_and_where() {
        let wrong = |tree: Json| Filter::parse(&tree, &fields()).unwrap_err();
        assert_eq!(wrong(json!({"field": "secret", "op": "eq", "value": 1})).pointer, "/field");
        assert_eq!(wrong(json!({"and": [{"field": "stock", "op": "eq", "value": "many"}]})).pointer, "/and/0/value");
        assert_eq!(wrong(json!({"field": "stock", "op": "like", "value": 1})).code, "operator");
        assert_eq!(wrong(json!([])).code, "shape");
        assert_eq!(wrong(json!({ "and": [{ "or": [] }] })).code, "shape");
        let one = json!({"field": "stock", "op": "eq", "value": 1});
        assert_eq!(wrong(json!({ "and": vec![one; 21] })).code, "size");
        let deep = (0..20).fold(json!({"field": "stock", "op": "eq", "value": 1}), |inner, _| json!({ "not": inner }));
        assert_eq!(wrong(deep).code, "depth");
    }
}
