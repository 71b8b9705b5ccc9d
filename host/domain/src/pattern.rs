//! What a subscription listens to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::is_word;

/// A pattern over event types: words joined by dots, where `*` stands for one word
/// and `**`, at the end only, for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether an event of this type is meant.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut words = event_type.split('.');
        for wanted in self.0.split('.') {
            match (wanted, words.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(word)) if wanted == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let count = text.split('.').count();
        let valid = text.len() <= 120
            && text.split('.').enumerate().all(|(i, w)| w == "*" || is_word(w) || (w == "**" && i + 1 == count));
        if valid {
            Ok(Self(text))
        } else {
            Err(format!("`{text}` is not a pattern: use words joined by dots, `*` for one word, `**` at the end"))
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        Pattern::try_from(pattern.to_owned()).unwrap().matches(event_type)
    }

    #[test]
    fn a_star_is_one_word_and_two_are_the_rest() {
        assert!(matches("inventory.*.created", "inventory.items.created"));
        assert!(!matches("inventory.*", "inventory.items.created"));
        assert!(matches("inventory.**", "inventory.items.created"));
        assert!(!matches("inventory.**", "inventory"));
        assert!(matches("user.created", "user.created"));
        assert!(!matches("user.created", "user.created.again"));
        assert!(Pattern::try_from("**.created".to_owned()).is_err());
    }
}
