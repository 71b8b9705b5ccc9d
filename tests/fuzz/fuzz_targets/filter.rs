//! Whatever somebody filters by is a filter or refused; a filter can be asked of any row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin_domain::{
    filter::{Field, FieldType, Filter, Operand},
    sort,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let fields = [
        Field::column("text", FieldType::Text),
        Field::nullable("number", FieldType::Number),
        Field::nullable("flag", FieldType::Boolean),
        Field::column("at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ];
    if let Ok(tree) = serde_json::from_str(text)
        && let Ok(filter) = Filter::parse(&tree, &fields)
    {
        for value in [serde_json::json!("a"), serde_json::json!(1.5), serde_json::json!(true), serde_json::Value::Null] {
            let _ = filter.matches(&|field| Operand::of(field.field_type, &value).ok());
        }
    }
    let _ = sort::parse(text.split(','), &fields);
    for kind in [FieldType::Text, FieldType::Number, FieldType::Boolean, FieldType::Timestamp, FieldType::Uuid] {
        if let Ok(operand) = Operand::parse(kind, text) {
            let again = Operand::of(kind, &operand.to_json());
            assert!(again.is_ok(), "{operand:?}: {again:?}");
        }
    }
});
