//! Whatever somebody hands in as a cursor is one of this list or refused, and what a row says is
//! read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin_domain::{
    cursor,
    filter::{Field, FieldType, Operand},
    sort::SortKey,
};

const KEY: [u8; 32] = [7; 32];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for field_type in [FieldType::Text, FieldType::Number, FieldType::Boolean, FieldType::Timestamp, FieldType::Uuid] {
        let sort = [SortKey { field: Field::nullable("field", field_type), descending: false }];
        assert!(cursor::open(&KEY, "list", &sort, text).is_none(), "nobody knows the key");
        for value in [None, Operand::parse(field_type, text).ok()] {
            let sealed = cursor::seal(&KEY, "list", std::slice::from_ref(&value));
            let opened = cursor::open(&KEY, "list", &sort, &sealed);
            assert_eq!(opened.as_deref(), Some(std::slice::from_ref(&value)));
            assert!(cursor::open(&KEY, text, &sort, &sealed).is_none() || text == "list");
        }
    }
});
