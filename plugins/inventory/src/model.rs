//! The data: one Rust type and one JSON Schema for each collection.

use purlin_sdk::{Collection, json};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Item {
    pub sku: String,
    pub name: String,
    #[serde(default)]
    pub stock: i64,
    #[serde(default)]
    pub reorder_point: i64,
    #[serde(default)]
    pub unit_cost_cents: i64,
}

#[derive(Serialize, Deserialize)]
pub struct Movement {
    pub item_id: String,
    /// Positive for goods that come in, negative for goods that leave.
    pub quantity: i64,
    pub reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Suggestion {
    pub item_id: String,
    pub sku: String,
    pub quantity: i64,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Valuation {
    pub items: i64,
    pub total_cents: i64,
}

pub fn items() -> Collection {
    let schema = json!({
        "type": "object",
        "properties": {
            "sku": { "type": "string", "minLength": 1, "maxLength": 64 },
            "name": { "type": "string", "minLength": 1, "maxLength": 200 },
            "stock": { "type": "integer" },
            "reorder_point": { "type": "integer", "minimum": 0 },
            "unit_cost_cents": { "type": "integer", "minimum": 0 },
        },
        "required": ["sku", "name"],
        "additionalProperties": false,
    });
    Collection::new("items", schema)
        .title("Items")
        .unique(&["sku"])
        .filterable(&["sku", "name", "stock"])
        .sortable(&["sku", "name", "stock"])
        .searchable(&["sku", "name"])
}

pub fn movements() -> Collection {
    let schema = json!({
        "type": "object",
        "properties": {
            "item_id": { "type": "string", "format": "uuid" },
            "quantity": { "type": "integer", "not": { "const": 0 } },
            "reason": { "type": ["string", "null"], "maxLength": 500 },
        },
        "required": ["item_id", "quantity"],
        "additionalProperties": false,
    });
    Collection::new("movements", schema)
        .title("Stock movements")
        .filterable(&["item_id", "quantity"])
        .indexed(&["item_id", "quantity"])
        .references("item_id", "items")
}

pub fn suggestions() -> Collection {
    let schema = json!({
        "type": "object",
        "properties": {
            "item_id": { "type": "string" }, "sku": { "type": "string" }, "quantity": { "type": "integer", "minimum": 1 },
        },
        "required": ["item_id", "sku", "quantity"],
        "additionalProperties": false,
    });
    Collection::new("suggestions", schema)
        .title("Reorder suggestions")
        .filterable(&["item_id", "sku"])
        .references_loosely("item_id", "items")
}

pub fn valuations() -> Collection {
    let schema = json!({
        "type": "object",
        "properties": { "items": { "type": "integer" }, "total_cents": { "type": "integer" } },
        "required": ["items", "total_cents"],
        "additionalProperties": false,
    });
    Collection::new("valuations", schema).title("Stock valuations")
}
