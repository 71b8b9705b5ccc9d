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
        let _ = descriptor.checks(&descriptor.name, &collection.name, Verb::Create);
    }
    let _ = descriptor.with_defaults(&serde_json::json!({}));
});
