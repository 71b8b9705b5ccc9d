//! Documents out of the database, their numbers in their one form.

use purlin_domain::{Json, document};
use sqlx::{
    Database, Decode, Postgres, Sqlite, Type, error::BoxDynError, postgres::PgTypeInfo, sqlite::SqliteTypeInfo,
};

/// A column of JSON that tenants and plugins fill.
pub(crate) struct Document(Json);

impl Type<Postgres> for Document {
    fn type_info() -> PgTypeInfo {
        <Json as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <Json as Type<Postgres>>::compatible(info)
    }
}

impl Type<Sqlite> for Document {
    fn type_info() -> SqliteTypeInfo {
        <Json as Type<Sqlite>>::type_info()
    }

    fn compatible(info: &SqliteTypeInfo) -> bool {
        <Json as Type<Sqlite>>::compatible(info)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for Document
where
    Json: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let mut document = Json::decode(value)?;
        document::restore(&mut document);
        Ok(Self(document))
    }
}

impl From<Document> for Json {
    fn from(document: Document) -> Self {
        document.0
    }
}

/// The same where there may be none.
pub(crate) struct MaybeDocument(Option<Document>);

impl Type<Postgres> for MaybeDocument {
    fn type_info() -> PgTypeInfo {
        <Document as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <Document as Type<Postgres>>::compatible(info)
    }
}

impl Type<Sqlite> for MaybeDocument {
    fn type_info() -> SqliteTypeInfo {
        <Document as Type<Sqlite>>::type_info()
    }

    fn compatible(info: &SqliteTypeInfo) -> bool {
        <Document as Type<Sqlite>>::compatible(info)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for MaybeDocument
where
    Option<Document>: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Option::decode(value)?))
    }
}

impl From<MaybeDocument> for Option<Json> {
    fn from(document: MaybeDocument) -> Self {
        document.0.map(Json::from)
    }
}
