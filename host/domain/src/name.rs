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
    fn dotted_names_need_two_words() {
        assert!(is_dotted("inventory.stock.low"));
        assert!(!is_dotted("inventory"));
        assert!(!is_dotted("inventory..low"));
        assert!(!is_dotted("Inventory.low"));
    }
}
