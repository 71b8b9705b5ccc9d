//! One form of each text that people type in several: addresses, names that must be unique, and
//! what searches compare.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::Map;

use crate::Json;

/// A text in one form of its letters (Unicode NFKC): keyboards send the same letter in several.
pub fn normalized(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfkc().normalize(text).into_owned()
}

/// The same without regard to case (full case folding): texts that differ in nothing else are
/// equal then.
pub fn folded(text: &str) -> String {
    normalized(&CaseMapper::new().fold_string(&normalized(text)))
}

/// The folded copy that has to be stored beside a text: none where the text, its ASCII letters in
/// lower case, is that already.
pub fn folded_copy(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    Some(folded(text)).filter(|folded| *folded != text.to_ascii_lowercase())
}

/// The same of named texts, by name; none where there is none.
pub fn folded_copies<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Json> {
    let copies = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Json::String(folded_copy(text)?))));
    let copies: Map<String, Json> = copies.collect();
    (!copies.is_empty()).then_some(Json::Object(copies))
}

/// The same of the members of a document that are texts.
pub fn folded_members(document: &Json) -> Option<Json> {
    let members = document.as_object()?.iter();
    folded_copies(members.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))))
}

/// Whether a name may be repeated in mails to strangers: it has no characters that are not seen or
/// turn the text around, and no address of a page.
pub fn is_plain_name(name: &str) -> bool {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
            || ('\u{e0000}'..='\u{e007f}').contains(&c)
    };
    let folded = folded(name);
    // `host.example/page`, which programs make a link of.
    let is_page = |word: &str| {
        let host = word.split_once('/').map_or("", |(host, _)| host);
        let label = host.rsplit_once('.').map_or("", |(_, label)| label);
        label.len() > 1 && label.chars().all(char::is_alphabetic)
    };
    let leads_elsewhere = folded.contains("://") || folded.contains("www.") || folded.split_whitespace().any(is_page);
    !name.chars().any(is_hidden) && !leads_elsewhere
}

/// An e-mail address in the one form by which accounts are told apart: without regard to the case
/// of ASCII letters, the domain as DNS knows it. None where it is no plain address of a host on the
/// internet: `user@host.example`, without a name before it.
pub fn email(text: &str) -> Option<String> {
    let options = email_address::Options::default().without_display_text().without_domain_literal().with_required_tld();
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(text.trim());
    let address = email_address::EmailAddress::parse_with_options(&text, options).ok()?;
    let domain = idna::domain_to_ascii_strict(&normalized(address.domain())).ok()?;
    let local = address.local_part().to_ascii_lowercase();
    let is_plain = !local.contains(char::is_control) && local.len() <= 64 && domain.len() <= 253;
    is_plain.then(|| format!("{local}@{domain}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_has_one_form() {
        for (written, form) in [
            (" Bob@Example.COM ", "bob@example.com"),
            ("a@m\u{fc}nchen.example", "a@xn--mnchen-3ya.example"),
            ("a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"),
            ("a@MU\u{308}NCHEN.example", "a@xn--mnchen-3ya.example"),
            ("jose\u{301}@x.example", "jos\u{e9}@x.example"),
            ("bob+tag@example.com", "bob+tag@example.com"),
        ] {
            assert_eq!(email(written).as_deref(), Some(form), "{written}");
        }
        for wrong in [
            "Bob <bob@example.com>",
            "user@localhost",
            "user@[127.0.0.1]",
            "no address",
            "a@b@c.example",
            "@x.example",
            "a@x..example",
            "a@-x.example",
            "a\u{0}@x.example",
            "",
        ] {
            assert_eq!(email(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_neither_hides_nor_leads_elsewhere() {
        for name in ["Ada", "Jos\u{e9} \u{645}", "O'Neil & Sons", "Acme 2.0/3.0", "Booking.com", "A/S Nord"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in [
            "go to https://evil.example",
            "HTTP\u{ff1a}//x",
            "WWW.evil.example",
            "at evil.example/win",
            "a\u{202e}b",
            "a\nb",
        ] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[test]
    fn texts_that_differ_in_case_or_composition_fold_to_the_same() {
        assert_eq!(folded("\u{c9}rable"), folded("e\u{301}rable"));
        assert_eq!(folded("STRASSE"), folded("stra\u{df}e"));
        assert_eq!(folded("\u{ff21}dmin"), folded("admin"));
        assert_ne!(folded("a"), folded("\u{e4}"));
    }

    #[test]
    fn a_folded_copy_is_stored_where_lower_case_ascii_would_not_do() {
        let document =
            json!({ "a": "\u{c9}rable", "b": "ASCII", "c": "\u{e9}t\u{e9}", "d": ["\u{c9}"], "e": "\u{130}" });
        assert_eq!(folded_members(&document), Some(json!({ "a": "\u{e9}rable", "e": "i\u{307}" })));
        assert_eq!(folded_members(&json!({ "a": "ASCII", "n": 1 })), None);
        for text in ["", "Plain ASCII: _%*\\", "\u{65e5}\u{672c}", "\u{c9}rable", "STRA\u{1e9e}E", "\u{fb01}n"] {
            assert_eq!(folded_copy(text).unwrap_or_else(|| text.to_ascii_lowercase()), folded(text), "{text}");
        }
    }
}
