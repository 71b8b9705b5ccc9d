//! Published events.

use purlin_domain::{
    Json, Timestamp,
    event::{Cause, Event, NewEvent},
    filter::{Field, FieldType},
    id::{EventId, UserId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, Result, Slice, TenantTx, Weigh, value::params};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    #[sqlx(rename = "type")]
    event_type: String,
    source: String,
    subject: Option<String>,
    data: Json,
    actor: Option<Uuid>,
    caused_by: Option<Uuid>,
    depth: i64,
    created_at: Timestamp,
}

impl Weigh for Row {
    fn bytes(&self) -> usize {
        self.data.to_string().len()
    }
}

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        Self {
            id: EventId(row.id),
            source: row.source,
            event_type: row.event_type,
            subject: row.subject,
            time: row.created_at,
            data: row.data,
            actor: row.actor.map(UserId),
            caused_by: row.caused_by.map(EventId),
            depth: u32::try_from(row.depth).unwrap_or(u32::MAX),
        }
    }
}

/// Write events, in the transaction that causes them.
pub async fn insert(tx: &mut TenantTx, events: &[NewEvent], cause: &Cause, now: Timestamp) -> Result<()> {
    let rows = events.iter().map(|event| {
        params![
            event.id,
            &event.event_type,
            &event.source,
            event.subject.clone(),
            &event.data,
            cause.user,
            cause.event,
            cause.root,
            cause.depth,
            now
        ]
    });
    let columns = ["id", "type", "source", "subject", "data", "actor", "caused_by", "root_id", "depth", "created_at"];
    tx.insert_many("events", &columns, rows.collect()).await
}

/// The event of this id.
pub async fn by_id(tx: &mut TenantTx, id: EventId) -> Result<Option<Event>> {
    let row: Option<Row> = tx
        .fetch_optional(
            "SELECT id, type, source, subject, data, actor, caused_by, depth, created_at FROM events
             WHERE tenant_id = $1 AND id = $2",
            params![id],
        )
        .await?;
    Ok(row.map(Event::from))
}

/// What events can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("type", FieldType::Text),
        filter_only("source", FieldType::Text),
        filter_only("subject", FieldType::Text),
        filter_only("actor", FieldType::Uuid),
        filter_only("caused_by", FieldType::Uuid),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of events.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Event>> {
    let columns = &["id", "type", "source", "subject", "data", "actor", "caused_by", "depth", "created_at"];
    let page: Page<Row> = tx.list(&Listing { table: "events", columns, scope: Vec::new(), slice }).await?;
    Ok(Page { rows: page.rows.into_iter().map(Event::from).collect(), more: page.more, total: page.total })
}

/// Empty the events about this subject of their data; the rest of them stays.
pub async fn erase_subject(tx: &mut TenantTx, subject: &str, data: &Json) -> Result<u64> {
    tx.execute("UPDATE events SET data = $3 WHERE tenant_id = $1 AND subject = $2", params![subject, data]).await
}
