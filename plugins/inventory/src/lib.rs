//! Inventory: items and their stock movements.
//!
//! Book a movement, and the item's stock follows. When stock falls under the reorder
//! point, `inventory.stock.low` is published and a job writes a reorder suggestion. A
//! job of its own values the whole stock.

mod model;

use model::{Item, Movement, Suggestion, Valuation};
use purlin_sdk::{
    Descriptor, Error, Event, EventType, Failure, Job, JobKind, Plugin, RecordChange, Request, Response, Route, Value,
    events, jobs, json, log,
    records::{self, Collection},
};
use serde::{Deserialize, Serialize};

const STOCK_LOW: &str = "inventory.stock.low";
const SUGGEST_REORDER: &str = "inventory.suggest-reorder";
const VALUATION: &str = "inventory.valuation";
const PRINT_LABELS: &str = "inventory.labels:print";

struct Inventory;

impl Plugin for Inventory {
    fn describe() -> Descriptor {
        Descriptor::new("inventory", env!("CARGO_PKG_VERSION"), "Inventory")
            .description("Items, stock movements, and suggestions of what to reorder.")
            .collection(model::items())
            .collection(model::movements())
            .collection(model::suggestions())
            .collection(model::valuations())
            .subscribe("inventory.movements.created")
            .publishes(EventType::new(STOCK_LOW))
            .job(JobKind::new(SUGGEST_REORDER).attempts(5))
            .job(JobKind::new(VALUATION).timeout_ms(300_000))
            .permission(PRINT_LABELS, "Print labels for items")
            .route(Route::new("GET", "/items/{id}/label", PRINT_LABELS).summary("A label for an item, as text"))
    }

    fn on_event(event: Event) -> Result<(), Failure> {
        let change: RecordChange<Movement> = event.data()?;
        match change.data {
            Some(movement) => book(&movement),
            None => Err(Failure::reject("a created movement has no data")),
        }
    }

    fn run_job(job: Job) -> Result<Option<Value>, Failure> {
        match job.kind.as_str() {
            SUGGEST_REORDER => suggest_reorder(&job.payload::<ReorderJob>()?),
            VALUATION => value_stock(),
            other => Err(Failure::reject(format!("{other} is not a job of this plugin"))),
        }
    }

    fn handle_request(request: Request) -> Result<Response, Error> {
        let item = records::collection::<Item>("items").get(request.param("id"))?;
        Ok(Response::text(format!("{} · {}\n", item.data.sku, item.data.name)))
    }
}

purlin_sdk::export!(Inventory);

#[derive(Serialize, Deserialize)]
struct ReorderJob {
    item_id: String,
}

/// Move the item's stock. If somebody else moves it at the same moment, the host runs
/// this again, so both movements count.
fn book(movement: &Movement) -> Result<(), Failure> {
    let items: Collection<Item> = records::collection("items");
    let mut item = items.get(&movement.item_id)?;
    let before = item.data.stock;
    item.data.stock = before
        .checked_add(movement.quantity)
        .ok_or_else(|| Failure::reject(format!("{}: a stock of {before} cannot move so far", item.data.sku)))?;
    let item = items.update(&item)?;
    log::info(format!("{}: stock {before} → {}", item.data.sku, item.data.stock));

    let low = |stock: i64| stock < item.data.reorder_point;
    if low(item.data.stock) && !low(before) {
        let data = json!({ "item_id": item.id, "sku": item.data.sku, "stock": item.data.stock });
        events::publish(STOCK_LOW, Some(&item.id), &data)?;
        let once = jobs::Options { unique_key: Some(item.id.clone()), ..Default::default() };
        jobs::enqueue(SUGGEST_REORDER, &ReorderJob { item_id: item.id }, once)?;
    }
    Ok(())
}

/// Suggest to buy what brings the item back to twice its reorder point.
fn suggest_reorder(job: &ReorderJob) -> Result<Option<Value>, Failure> {
    let item = records::collection::<Item>("items").get(&job.item_id)?;
    let quantity = item.data.reorder_point.saturating_mul(2).saturating_sub(item.data.stock);
    if quantity <= 0 {
        return Ok(Some(json!({ "skipped": "stock has recovered" })));
    }
    let suggestion = Suggestion { item_id: item.id, sku: item.data.sku, quantity };
    let suggestion = records::collection("suggestions").create(&suggestion)?;
    Ok(Some(json!({ "suggestion_id": suggestion.id, "quantity": quantity })))
}

/// Add up what all items on stock cost, page by page.
fn value_stock() -> Result<Option<Value>, Failure> {
    let items: Collection<Item> = records::collection("items");
    let mut valuation = Valuation::default();
    let mut after = None;
    loop {
        let page = items.query().sort("sku").size(200).after(after).page()?;
        for item in page.rows {
            valuation.items += 1;
            valuation.total_cents = item
                .data
                .stock
                .checked_mul(item.data.unit_cost_cents)
                .and_then(|cents| valuation.total_cents.checked_add(cents))
                .ok_or_else(|| Failure::reject(format!("the stock of {} is worth too much to count", item.data.sku)))?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let record = records::collection("valuations").create(&valuation)?;
    Ok(Some(json!({ "valuation_id": record.id, "total_cents": valuation.total_cents })))
}
