//! Files that plugins keep.

use schemars::JsonSchema;
use serde::Serialize;

use crate::Timestamp;

/// A file of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct File {
    /// Its key.
    pub key: String,
    /// Its media type.
    pub content_type: String,
    /// Its length.
    pub bytes: i64,
    /// BLAKE3 of its content, in hex.
    pub digest: String,
    /// When it was last written.
    pub updated_at: Timestamp,
}
