//! Names that guests and people choose: what is taken leads nowhere else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin_domain::{
    access::Permission,
    name::{is_file_key, is_host},
    pattern::Pattern,
    trace::Trace,
};

fuzz_target!(|text: &str| {
    if let Ok(permission) = text.parse::<Permission>() {
        assert_eq!(permission.to_string(), text);
        assert!(permission.covers(&permission));
    }
    if let Ok(trace) = text.parse::<Trace>() {
        assert_eq!(trace.to_string().parse(), Ok(trace), "{text}");
    }
    if let Ok(pattern) = Pattern::try_from(text.to_owned()) {
        let _ = pattern.matches("a.b.c");
        assert_eq!(pattern.as_str(), text);
    }
    if is_file_key(text) {
        let path = std::path::Path::new(text);
        let is_plain = |part| matches!(part, std::path::Component::Normal(_));
        assert!(path.is_relative() && path.components().all(is_plain), "{text}");
        assert!(!text.contains(['\0', '\\', '"', '\r', '\n']));
    }
    if is_host(text) {
        assert!(!text.contains([':', '/', '@', '[', '?', '#', '%', ' ']), "{text}");
    }
});
