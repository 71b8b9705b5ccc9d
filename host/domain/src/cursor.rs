//! Cursors: where a page of a list begins or ends, with a MAC over it and over the list, so that
//! nobody makes one up or takes it to another list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Json, filter::Operand, sort::SortKey};

const MAC_BYTES: usize = 16;

/// The cursor of a row with these values of the sort keys.
pub fn seal(key: &[u8; 32], context: &str, values: &[Option<Operand>]) -> String {
    let values: Json = values.iter().map(|value| value.as_ref().map_or(Json::Null, Operand::to_json)).collect();
    let payload = values.to_string();
    let mac = mac(key, context, payload.as_bytes());
    URL_SAFE_NO_PAD.encode([mac.as_slice(), payload.as_bytes()].concat())
}

/// The values in a cursor of this list; none where it is not one.
pub fn open(key: &[u8; 32], context: &str, sort: &[SortKey], cursor: &str) -> Option<Vec<Option<Operand>>> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (given, payload) = bytes.split_at_checked(MAC_BYTES)?;
    // Both sides are hashes of what the caller cannot choose, compared in constant time.
    let difference = mac(key, context, payload).iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    if difference != 0 {
        return None;
    }
    let values: Vec<Json> = serde_json::from_slice(payload).ok()?;
    if values.len() != sort.len() {
        return None;
    }
    let operand = |(key, value): (&SortKey, Json)| match value {
        Json::Null => Some(None),
        value => Operand::of(key.field.field_type, &value).ok().map(Some),
    };
    sort.iter().zip(values).map(operand).collect()
}

fn mac(key: &[u8; 32], context: &str, payload: &[u8]) -> [u8; MAC_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(context.len() as u64).to_le_bytes()).update(context.as_bytes()).update(payload);
    let mut mac = [0; MAC_BYTES];
    hasher.finalize_xof().fill(&mut mac);
    mac
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filter::{Field, FieldType};

    #[test]
    fn a_cursor_is_good_for_its_own_list_and_order_alone() {
        let key = |name: &str, field_type| SortKey { field: Field::nullable(name, field_type), descending: false };
        let sort = [key("name", FieldType::Text), key("n", FieldType::Number)];
        let values = [Some(Operand::Text("a".to_owned())), None];
        let cursor = seal(&[1; 32], "users", &values);
        assert_eq!(open(&[1; 32], "users", &sort, &cursor), Some(values.to_vec()));
        assert_eq!(open(&[2; 32], "users", &sort, &cursor), None);
        assert_eq!(open(&[1; 32], "roles", &sort, &cursor), None);
        assert_eq!(open(&[1; 32], "users", &sort[..1], &cursor), None);
        assert_eq!(
            open(&[1; 32], "users", &[key("name", FieldType::Number), key("n", FieldType::Number)], &cursor),
            None
        );
        for at in 0..cursor.len() {
            let mut other = cursor.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(open(&[1; 32], "users", &sort, &other), None, "changed at {at}");
        }
        for text in ["", "AAAA", "not base64!", &URL_SAFE_NO_PAD.encode(json!([null, null]).to_string())] {
            assert_eq!(open(&[1; 32], "users", &sort, text), None, "{text}");
        }
    }
}
