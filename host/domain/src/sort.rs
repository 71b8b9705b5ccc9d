//! The order of a list.

use crate::{
    error::Violation,
    filter::{Field, Operand},
};

/// Sort keys of one list at most, the id not counted.
pub const KEYS_MAX: usize = 4;

/// One key of an order. Missing values come last either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The field.
    pub field: Field,
    /// Largest first.
    pub descending: bool,
}

/// Read `-created_at`, `name`, … and end it with the id, which makes the order total.
pub fn parse<'a>(keys: impl IntoIterator<Item = &'a str>, fields: &[Field]) -> Result<Vec<SortKey>, Violation> {
    let mut sort = Vec::new();
    for key in keys {
        let (name, descending) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
        let field = fields
            .iter()
            .find(|f| f.name == name && f.sortable)
            .ok_or_else(|| Violation::new("/sort", "field", format!("`{name}` is not a field to sort by")))?;
        if sort.iter().any(|k: &SortKey| k.field.name == name) {
            return Err(Violation::new("/sort", "repeated", format!("`{name}` is there twice")));
        }
        sort.push(SortKey { field: field.clone(), descending });
    }
    if sort.len() > KEYS_MAX {
        return Err(Violation::new("/sort", "size", format!("sort by at most {KEYS_MAX} fields")));
    }
    if !sort.iter().any(|key| key.field.name == "id") {
        let id =
            fields.iter().find(|f| f.name == "id").ok_or_else(|| Violation::new("/sort", "field", "there is no id"))?;
        let descending = sort.last().is_some_and(|key| key.descending);
        sort.push(SortKey { field: id.clone(), descending });
    }
    Ok(sort)
}

/// How two rows compare under an order, by their values for each of its keys.
pub fn compare(sort: &[SortKey], a: &[Option<Operand>], b: &[Option<Operand>]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    for ((key, a), b) in sort.iter().zip(a).zip(b) {
        let ordering = match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => {
                let ordering = a.compare(b).unwrap_or(Ordering::Equal);
                if key.descending { ordering.reverse() } else { ordering }
            }
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use serde_json::json;

    use super::*;
    use crate::filter::FieldType;

    #[test]
    fn the_id_ends_every_sort_and_missing_values_come_last() {
        let fields = [Field::column("id", FieldType::Uuid), Field::column("stock", FieldType::Number)];
        let sort = parse(["-stock"], &fields).unwrap();
        assert_eq!(sort.len(), 2);
        let row = |stock: Option<i64>| vec![stock.and_then(|n| Operand::of(FieldType::Number, &json!(n)).ok()), None];
        assert_eq!(compare(&sort, &row(Some(5)), &row(Some(3))), Ordering::Less);
        assert_eq!(compare(&sort, &row(None), &row(Some(3))), Ordering::Greater);
        assert!(parse(["stock", "stock"], &fields).is_err());
        assert!(parse(["secret"], &fields).is_err());
    }
}
