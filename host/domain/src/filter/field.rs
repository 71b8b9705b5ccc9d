//! The fields that lists know.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::email;

/// The type of a field that lists can filter and sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text, compared by its bytes.
    Text,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An instant, written in RFC 3339.
    Timestamp,
    /// A UUID.
    Uuid,
}

/// Where the value of a field is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a column of that name.
    Column,
    /// In the `data` document of a record.
    Data,
}

/// What the text of a field may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    #[default]
    Free,
    /// A key that a program made up, in any letters.
    Key,
    /// One of these.
    Listed(Vec<String>),
    /// An e-mail address, in the one form by which accounts are told apart.
    Email,
    /// A UUID, in lower case with hyphens.
    Uuid,
    /// A day, as `2026-11-29`.
    Date,
}

impl Form {
    /// A text that it may be compared with for equality, in the one way that it is stored.
    pub(super) fn admit(&self, text: &mut String) -> Result<(), String> {
        match self {
            Self::Free | Self::Key => Ok(()),
            // What is no address is that of nobody.
            Self::Email => {
                *text = email(text).unwrap_or_else(|| std::mem::take(text));
                Ok(())
            }
            Self::Listed(all) if all.contains(text) => Ok(()),
            Self::Listed(all) => Err(format!("use one of {}", all.join(", "))),
            Self::Uuid => match Uuid::try_parse(text) {
                Ok(id) => {
                    *text = id.to_string();
                    Ok(())
                }
                Err(_) => Err("use a UUID".to_owned()),
            },
            Self::Date if NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok_and(|day| day.to_string() == *text) => {
                Ok(())
            }
            Self::Date => Err("use a day, as 2026-11-29".to_owned()),
        }
    }
}

/// A field that a list knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, in filters and in answers.
    pub name: String,
    /// Its type.
    pub field_type: FieldType,
    /// Where it is kept.
    pub source: Source,
    /// Whether lists may filter by it.
    pub filterable: bool,
    /// Whether lists may sort by it.
    pub sortable: bool,
    /// Whether a row may be without it.
    pub nullable: bool,
    /// Whether a search for words looks through it.
    pub searchable: bool,
    /// Whether folded copies of its texts are stored, in the `folded` document of the row.
    pub folded: bool,
    /// What its text may be.
    pub form: Form,
}

impl Field {
    /// A column that lists may filter and sort by; every row has a value.
    pub fn column(name: &str, field_type: FieldType) -> Self {
        Self {
            name: name.to_owned(),
            field_type,
            source: Source::Column,
            filterable: true,
            sortable: true,
            nullable: false,
            searchable: false,
            folded: false,
            form: Form::Free,
        }
    }

    /// A column whose text is one of these.
    pub fn listed<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let values = values.into_iter().map(str::to_owned).collect();
        Self { form: Form::Listed(values), ..Self::column(name, FieldType::Text) }
    }

    /// The same column, whose texts people write in any letters.
    #[must_use]
    pub fn folded(self) -> Self {
        Self { folded: true, ..self }
    }

    /// The same column, whose texts are keys that programs made up: searches disregard no case.
    #[must_use]
    pub fn key(self) -> Self {
        Self { form: Form::Key, ..self }
    }

    /// The same, where a row may be without a value.
    pub fn nullable(name: &str, field_type: FieldType) -> Self {
        Self { nullable: true, ..Self::column(name, field_type) }
    }
}
