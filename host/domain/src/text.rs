//! Text that every database can hold.

use crate::Json;

/// Whether some text in this document holds U+0000, which PostgreSQL cannot store. Found
/// at the door, so that both databases take the same.
pub fn has_nul(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains('\0'),
        Json::Array(items) => items.iter().any(has_nul),
        Json::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// What a caller is told of it.
pub const NUL: &str = "text cannot hold the character U+0000";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nul_is_found_however_deep() {
        assert!(has_nul(&json!({ "a": [{ "b": "x\0" }] })));
        assert!(has_nul(&json!({ "a\0": 1 })));
        assert!(!has_nul(&json!({ "a": ["x", 0, null] })));
    }
}
