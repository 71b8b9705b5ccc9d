//! How Rust values become statement parameters.

use purlin_domain::{
    Json, Timestamp,
    clock::to_micros,
    id::{ApiKeyId, EventId, InvitationId, JobId, RecordId, RoleId, SessionId, TenantId, UserId, VersionId},
};
use sea_query::Value;
use uuid::Uuid;

/// Something that can be bound to a statement.
pub trait Bind {
    /// As a parameter.
    fn bind(self) -> Value;
    /// A null of this type.
    fn null() -> Value;
}

macro_rules! binds {
    ($($from:ty => $variant:ident, |$v:ident| $value:expr;)*) => {$(
        impl Bind for $from {
            fn bind(self) -> Value {
                let $v = self;
                Value::$variant(Some($value))
            }
            fn null() -> Value {
                Value::$variant(None)
            }
        }
    )*};
}

binds! {
    bool => Bool, |v| v;
    i64 => BigInt, |v| v;
    u32 => BigInt, |v| i64::from(v);
    f64 => Double, |v| v;
    &str => String, |v| v.to_owned();
    String => String, |v| v;
    &String => String, |v| v.clone();
    Vec<u8> => Bytes, |v| v;
    Json => Json, |v| Box::new(v);
    &Json => Json, |v| Box::new(v.clone());
    Timestamp => ChronoDateTimeUtc, |v| to_micros(v);
    Uuid => Uuid, |v| v;
    TenantId => Uuid, |v| v.0;
    UserId => Uuid, |v| v.0;
    RoleId => Uuid, |v| v.0;
    EventId => Uuid, |v| v.0;
    JobId => Uuid, |v| v.0;
    RecordId => Uuid, |v| v.0;
    VersionId => Uuid, |v| v.0;
    SessionId => Uuid, |v| v.0;
    ApiKeyId => Uuid, |v| v.0;
    InvitationId => Uuid, |v| v.0;
}

impl<T: Bind> Bind for Option<T> {
    fn bind(self) -> Value {
        self.map_or_else(T::null, Bind::bind)
    }
    fn null() -> Value {
        T::null()
    }
}

/// A list of parameters.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::value::Bind::bind($value)),*]
    };
}
pub(crate) use params;

/// An array of PostgreSQL, of texts without quotes.
pub(crate) fn array(texts: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let quoted: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("{{{}}}", quoted.join(","))
}

/// Whether the JSON of a column may be brought along with that of very many rows, on PostgreSQL:
/// by its size as it is stored and, where that is compressed, as it is read.
macro_rules! is_small {
    ($column:literal) => {
        concat!(
            "(pg_column_size(",
            $column,
            ") <= 4096 AND (pg_column_compression(",
            $column,
            ") IS NULL OR octet_length(CAST(",
            $column,
            " AS text)) <= 4096))"
        )
    };
}
pub(crate) use is_small;
