//! Marks: what the index of a collection keeps of a value. A mark is a text that sorts as the
//! values do, so that one index serves every type.

use crate::{
    Json, Timestamp,
    filter::{FieldType, Filter, Op, Operand, Source, instant},
    number::Number,
};

/// Characters of a text that its mark keeps. Longer ones may share a mark.
const TEXT_CHARS_MAX: usize = 200;

/// The mark of a value of a field: its type, then what sorts as it does. None for what no comparison
/// finds: null, lists, objects.
pub fn mark(value: &Json, field_type: FieldType) -> Option<String> {
    match (field_type, value) {
        (FieldType::Timestamp, Json::String(text)) => instant(text).map(of_instant),
        _ => plain(value),
    }
}

/// The microseconds since 1970, turned so that they sort as the instants do.
fn of_instant(time: Timestamp) -> String {
    format!("i{:016x}", time.timestamp_micros().cast_unsigned() ^ (1 << 63))
}

fn plain(value: &Json) -> Option<String> {
    match value {
        Json::Bool(value) => Some(format!("b{}", u8::from(*value))),
        Json::Number(number) => Number::of_json(number).map(|number| format!("n{:016x}", in_order(number))),
        Json::String(text) => Some(text.chars().take(TEXT_CHARS_MAX).fold("s".to_owned(), |mut mark, c| {
            mark.push(c);
            mark
        })),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The bits of a number as a double, turned so that they sort as the numbers do.
fn in_order(number: Number) -> u64 {
    let bits = number.nearest_double().to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

/// What to look for in the index of a property. All that a filter lets pass is among what is
/// found; more may be, so the filter is asked as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The property.
    pub property: String,
    /// Which marks.
    pub marks: Marks,
}

/// Which marks are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Any of these.
    Any(Vec<String>),
    /// Those from the one to the other, both included.
    Between(String, String),
}

impl Filter {
    /// The best part of it that the index of one of these properties answers: what equals one
    /// value rather than one of several, that rather than what lies between two.
    pub fn lookup(&self, indexed: &[String]) -> Option<Lookup> {
        let mut parts = Vec::new();
        self.conjuncts(indexed, &mut parts);
        let exact = parts.iter().filter(|(_, op, _)| matches!(op, Op::Eq | Op::In));
        if let Some((property, _, operands)) = exact.min_by_key(|(_, _, operands)| operands.len()) {
            return Some(Lookup { property: (*property).to_owned(), marks: Marks::Any(marks(operands)) });
        }
        let (property, _, operands) = parts.first()?;
        let of_type = marks(operands).first()?.get(..1)?.to_owned();
        // The letter that follows that of the type comes after every mark of it.
        let next = char::from(of_type.bytes().next()?.saturating_add(1)).to_string();
        let (mut from, mut to) = (of_type, next);
        for (_, op, operands) in parts.iter().filter(|(other, ..)| other == property) {
            let Some(bound) = marks(operands).pop() else { continue };
            match op {
                Op::Gt | Op::Gte => from = from.max(bound),
                _ => to = to.min(bound),
            }
        }
        Some(Lookup { property: (*property).to_owned(), marks: Marks::Between(from, to) })
    }

    /// The comparisons with these properties that hold for all that passes.
    fn conjuncts<'a>(&'a self, indexed: &[String], parts: &mut Vec<(&'a str, Op, &'a [Operand])>) {
        match self {
            Self::And(all) => all.iter().for_each(|part| part.conjuncts(indexed, parts)),
            Self::Is(field, op, operands)
                if field.source == Source::Data
                    && indexed.contains(&field.name)
                    && matches!(op, Op::Eq | Op::In | Op::Gt | Op::Gte | Op::Lt | Op::Lte) =>
            {
                parts.push((&field.name, *op, operands));
            }
            Self::Is(..) | Self::Or(_) | Self::Not(_) => {}
        }
    }
}

fn marks(operands: &[Operand]) -> Vec<String> {
    let mark = |operand: &Operand| match operand {
        Operand::Timestamp(time) => Some(of_instant(*time)),
        other => plain(&other.to_json()),
    };
    operands.iter().filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filter::Field;

    fn fields() -> Vec<Field> {
        let data = |name: &str, field_type| Field { source: Source::Data, ..Field::column(name, field_type) };
        vec![data("sku", FieldType::Text), data("stock", FieldType::Number), Field::column("id", FieldType::Uuid)]
    }

    fn lookup(filter: &Json) -> Option<Lookup> {
        let indexed = ["sku".to_owned(), "stock".to_owned()];
        Filter::parse(filter, &fields()).unwrap().lookup(&indexed)
    }

    #[test]
    fn marks_sort_as_numbers_do() {
        let order =
            [json!(-1.5e300), json!(-2), json!(-1e-300), json!(0), json!(0.5), json!(3), json!(i64::MAX), json!(1e300)];
        let marks: Vec<_> = order.iter().map(|n| plain(n).unwrap()).collect();
        assert!(marks.is_sorted_by(|a, b| a < b), "{marks:?}");
        assert_eq!(plain(&json!(-0.0)), plain(&json!(0)));
        assert_eq!(plain(&json!(3)), plain(&json!(3.0)));
    }

    #[test]
    fn marks_sort_as_instants_do_whatever_the_offset() {
        let order =
            ["1969-12-31T23:59:59Z", "2026-03-29T02:00:00+02:00", "2026-03-29T00:00:01Z", "9999-12-31T23:59:59Z"];
        let of = |text: &str| mark(&json!(text), FieldType::Timestamp).unwrap();
        assert!(order.map(of).is_sorted_by(|a, b| a < b));
        assert_eq!(of("2026-03-29T02:00:00+02:00"), of("2026-03-29t00:00:00.0000009z"));
    }

    #[test]
    fn what_equals_is_looked_up_before_what_lies_between() {
        let is = |field: &str, op: &str, value: Json| json!({ "field": field, "op": op, "value": value });
        let found = lookup(&json!({ "and": [is("stock", "gt", json!(2)), is("sku", "eq", json!("A"))] })).unwrap();
        assert_eq!(found, Lookup { property: "sku".into(), marks: Marks::Any(vec!["sA".into()]) });
        let between = json!({ "and": [is("sku", "gte", json!("A")), { "and": [is("sku", "lt", json!("B"))] }] });
        assert_eq!(lookup(&between).unwrap().marks, Marks::Between("sA".into(), "sB".into()));
        assert_eq!(lookup(&is("sku", "gt", json!("A"))).unwrap().marks, Marks::Between("sA".into(), "t".into()));
    }

    #[test]
    fn what_an_index_does_not_answer_is_not_looked_up() {
        let is = json!({ "field": "sku", "op": "eq", "value": "A" });
        for filter in [
            json!({ "not": is }),
            json!({ "or": [is, { "field": "stock", "op": "eq", "value": 1 }] }),
            json!({ "field": "sku", "op": "ne", "value": "A" }),
            json!({ "field": "sku", "op": "null", "value": true }),
            json!({ "field": "id", "op": "eq", "value": "01930000-0000-7000-8000-000000000000" }),
        ] {
            assert_eq!(lookup(&filter), None, "{filter}");
        }
    }

    #[test]
    fn whatever_passes_a_filter_is_found() {
        let long = |end: &str| json!("x".repeat(TEXT_CHARS_MAX) + end);
        let texts = [json!(""), json!("A"), json!("a"), json!("\u{e9}"), long(""), long("a"), long("b")];
        let numbers = [json!(-3), json!(-0.5), json!(0), json!(2), json!(2.5), json!(i64::MAX), json!(i64::MAX - 1)];
        for (field, values) in [("sku", texts), ("stock", numbers)] {
            let is = |op: &str, bound: &Json| json!({ "field": field, "op": op, "value": bound });
            let ops = ["eq", "gt", "gte", "lt", "lte"];
            let parts: Vec<Json> = ops.iter().flat_map(|op| values.iter().map(move |bound| is(op, bound))).collect();
            for (one, other) in parts.iter().flat_map(|one| parts.iter().map(move |other| (one, other))) {
                let filter = Filter::parse(&json!({ "and": [one, other] }), &fields()).unwrap();
                let found = filter.lookup(&[field.to_owned()]).unwrap();
                for value in &values {
                    let passes = filter.matches(&|field| Operand::of(field.field_type, value).ok());
                    let mark = plain(value).unwrap();
                    let is_found = match &found.marks {
                        Marks::Any(marks) => marks.contains(&mark),
                        Marks::Between(from, to) => *from <= mark && mark <= *to,
                    };
                    assert!(is_found || !passes, "{value} passes {one} and {other}, and {found:?} does not find it");
                }
            }
        }
    }
}
