//! The grammar of names: what may stand in a URL, an event type or a column filter.

/// Lower-case words joined by hyphens: a tenant's slug, a plugin's name. 2 to 40
/// characters, first a letter.
pub fn is_slug(text: &str) -> bool {
    (2..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && !text.contains("--")
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A word of a dotted name, and a field of a collection: lower-case letters, digits,
/// `_` and `-`, first a letter. 1 to 60 characters.
pub fn is_word(text: &str) -> bool {
    (1..=60).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// A label of a host's name, and a word of a permission: like a word, but a digit may be first.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// The name of a host, or `*.` and that of a domain for every host in it.
pub fn is_host(text: &str) -> bool {
    text.len() <= 100 && text.strip_prefix("*.").unwrap_or(text).split('.').all(is_label)
}

/// The key of a file: up to ten words of letters, digits, `.`, `_` and `-`, joined by slashes.
/// No word begins with a dot. 200 bytes at most.
pub fn is_file_key(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    text.len() <= 200 && text.split('/').count() <= 10 && text.split('/').all(is_part)
}

/// Two to eight words joined by dots: an event type, a job kind.
pub fn is_dotted(text: &str) -> bool {
    text.len() <= 120 && (2..=8).contains(&text.split('.').count()) && text.split('.').all(is_word)
}

/// A slug made from a name: what is not a letter or digit becomes a hyphen. `None`
/// when nothing is left to build on.
pub fn slugify(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let slug: String = words.join("-").trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(40).collect();
    let slug = slug.trim_end_matches('-').to_owned();
    is_slug(&slug).then_some(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_come_from_names_and_always_parse() {
        assert_eq!(slugify("Acme Tools, Inc.").as_deref(), Some("acme-tools-inc"));
        assert_eq!(slugify("7 Seas").as_deref(), Some("seas"));
        assert_eq!(slugify("日本"), None);
        assert_eq!(slugify(&"x".repeat(90)).map(|s| s.len()), Some(40));
    }

    #[test]
    fn hosts_and_keys_lead_nowhere_else() {
        for good in ["api.example.com", "*.example.com", "localhost", "3m.example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "*", "*.", "a..b", "a.*.b", "A.example", "a:80", "a/b", "user@a", "[::1]", ".example.com"] {
            assert!(!is_host(bad), "{bad}");
        }
        for good in ["a", "invoices/2026/7.pdf", "A_b-c.d"] {
            assert!(is_file_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\\b", "a\0b", "ä"] {
            assert!(!is_file_key(bad), "{bad}");
        }
    }

    #[test]
    fn dotted_names_need_two_words() {
        assert!(is_dotted("inventory.stock.low"));
        assert!(!is_dotted("inventory"));
        assert!(!is_dotted("inventory..low"));
        assert!(!is_dotted("Inventory.low"));
    }
}
