//! Documents that guests hand in: however they look, what the host makes of them is the same each
//! time, and sorts as they do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin_domain::{
    Json,
    audit::{canonical, difference},
    log::escape_control,
    mark::mark,
    text::has_nul,
};

fuzz_target!(|texts: (&str, &str)| {
    let escaped = escape_control(texts.0);
    assert!(!escaped.contains(|c: char| c.is_control() && c != '\t'), "{escaped:?}");
    let (Ok(one), Ok(other)) = (serde_json::from_str::<Json>(texts.0), serde_json::from_str::<Json>(texts.1)) else {
        return;
    };
    let form = canonical(&one);
    assert_eq!(canonical(&form), form, "once is enough");
    let again: Json = serde_json::from_str(&form.to_string()).expect("what was written can be read");
    assert_eq!(canonical(&again), form);
    assert!(!has_nul(&one) || one.to_string().contains("\\u0000"));
    assert_eq!(difference(&one, &one), serde_json::json!({}));
    if one.is_object() && other.is_object() {
        assert_eq!(difference(&one, &other) == serde_json::json!({}), one == other);
    }
    if let (Some(a), Some(b)) = (one.as_f64(), other.as_f64()) {
        assert_eq!(mark(&one).cmp(&mark(&other)), (a + 0.0).total_cmp(&(b + 0.0)), "{a} {b}");
    }
});
