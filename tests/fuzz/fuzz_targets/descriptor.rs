//! Whatever a component says of itself is read or refused; what passes can be worked with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin_domain::{descriptor::Descriptor, guest::Verb, name::is_host};

fuzz_target!(|data: &[u8]| {
    let Ok(descriptor) = serde_json::from_slice::<Descriptor>(data) else { return };
    if !descriptor.violations().is_empty() {
        return;
    }
    for permission in descriptor.asks_for() {
        assert_eq!(permission.to_string().parse().as_ref(), Ok(&permission), "what is asked for can be granted");
    }
    assert!(descriptor.egress.iter().all(|host| is_host(host)));
    for collection in &descriptor.collections {
        let _ = (collection.fields(), collection.unique_values(&serde_json::json!({})));
        let data = serde_json::json!({ "id": "x", "name": null });
        for reference in &collection.references {
            let _ = (reference.target(&descriptor.name), reference.restricts(&descriptor.name), reference.id(&data));
        }
        if let Some(personal) = &collection.personal_data {
            let erased = personal.erased(&data).unwrap_or_else(|| data.clone());
            assert_eq!(personal.erased(&erased), None, "once is enough");
        }
        let _ = descriptor.checks(&descriptor.name, &collection.name, Verb::Create);
    }
    assert_eq!(descriptor.breaks(&descriptor), [], "what it wrote it can read");
    let _ = descriptor.with_defaults(&serde_json::json!({}));
});
