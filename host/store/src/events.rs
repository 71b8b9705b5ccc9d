//! Published events.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use purlin_domain::{
    Json, Timestamp,
    core_event::schema_path,
    event::{Cause, Event, NewEvent},
    filter::{Field, FieldType},
    id::{EventId, TenantId, UserId},
};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh,
    usage::row_bytes,
    value::{array, is_small, params},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    #[sqlx(rename = "type")]
    event_type: String,
    source: String,
    subject: Option<String>,
    #[sqlx(try_from = "crate::document::Document")]
    data: Json,
    actor: Option<Uuid>,
    caused_by: Option<Uuid>,
    depth: i64,
    traceparent: Option<String>,
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
            dataschema: schema_path(&row.source, &row.event_type),
            source: row.source,
            event_type: row.event_type,
            subject: row.subject,
            time: row.created_at,
            data: row.data,
            actor: row.actor.map(UserId),
            caused_by: row.caused_by.map(EventId),
            depth: u32::try_from(row.depth).unwrap_or(u32::MAX),
            traceparent: row.traceparent,
        }
    }
}

/// An event about to be written, and what led to it.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// The event.
    pub event: &'a NewEvent,
    /// What led to it.
    pub cause: &'a Cause,
    /// Who published it.
    pub by: Option<UserId>,
}

/// Write events, in the transaction that causes them.
pub async fn insert(tx: &mut TenantTx, events: &[Publish<'_>], now: Timestamp) -> Result<()> {
    let rows = events.iter().map(|Publish { event, cause, .. }| {
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
            cause.trace.to_string(),
            now
        ]
    });
    let columns = [
        "id",
        "type",
        "source",
        "subject",
        "data",
        "actor",
        "caused_by",
        "root_id",
        "depth",
        "traceparent",
        "created_at",
    ];
    tx.stored.events += events.iter().map(|published| row_bytes(&published.event.data)).sum::<i64>();
    tx.insert_later("events", &columns, rows.collect()).await
}

/// The event of this id.
pub async fn by_id(tx: &mut TenantTx, id: EventId) -> Result<Option<Event>> {
    let row: Option<Row> = tx
        .fetch_optional(
            "SELECT id, type, source, subject, data, actor, caused_by, depth, traceparent, created_at FROM events
             WHERE tenant_id = $1 AND id = $2",
            params![id],
        )
        .await?;
    Ok(row.map(Event::from))
}

#[derive(FromRow)]
struct RowOf {
    tenant_id: Uuid,
    #[sqlx(flatten)]
    row: Row,
}

/// What one lookup of events brings.
macro_rules! brought {
    () => {
        "SELECT e.tenant_id, e.id, e.type, e.source, e.subject, e.data, e.actor, e.caused_by, e.depth, e.traceparent, e.created_at"
    };
}

/// The first that is not before the one that is wanted, which is that or it is not there: this
/// is in the order of one index alone, and the planner needs no statistics to find it. By a
/// comparison of both columns it may take another one of a table that was never analysed, and
/// read on in that through everything that the tenant has.
const SMALL_POSTGRES: &str = concat!(
    "SELECT f.* FROM unnest(CAST($1 AS uuid[]), CAST($2 AS uuid[])) AS w(t, e) CROSS JOIN LATERAL (",
    brought!(),
    " FROM events e WHERE (e.tenant_id, e.id) >= (w.t, w.e) AND e.created_at >= $3 AND e.created_at <= $4
        ORDER BY e.tenant_id, e.id LIMIT 1) f
     WHERE f.tenant_id = w.t AND f.id = w.e AND ",
    is_small!("f.data")
);
const SMALL_SQLITE: &str = concat!(
    brought!(),
    " FROM json_each($1) w CROSS JOIN events e ON e.tenant_id = unhex(w.value->>'t') AND e.id = unhex(w.value->>'e')
     WHERE length(e.data) <= 4096"
);
/// An id tells when it was made; the event is dated when it was committed.
const COMMITTED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Those of these events, of whichever tenants, that are small: very many are looked up at
/// once, for the deliveries that were claimed together. One that was dated far from its id may
/// be left out.
pub async fn small(
    tx: &mut PlatformTx,
    wanted: &HashSet<(TenantId, EventId)>,
) -> Result<HashMap<(TenantId, EventId), Arc<Event>>> {
    let rows: Vec<RowOf> = if tx.conn.is_postgres() {
        let made = wanted.iter().filter_map(|(_, event)| made_at(event.0));
        let Some((first, last)) = made.fold(None, |span: Option<(Timestamp, Timestamp)>, at| {
            Some(span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        }) else {
            return Ok(HashMap::new());
        };
        let (tenants, events) =
            (array(wanted.iter().map(|(tenant, _)| tenant.0)), array(wanted.iter().map(|(_, event)| event.0)));
        let (from, until) = (first - COMMITTED_WITHIN, last + COMMITTED_WITHIN);
        tx.fetch_all(SMALL_POSTGRES, params![tenants, events, from, until]).await?
    } else {
        let named = |id: Uuid| id.simple().to_string();
        let list: Json = wanted.iter().map(|(t, e)| json!({ "t": named(t.0), "e": named(e.0) })).collect();
        tx.fetch_all(SMALL_SQLITE, params![list]).await?
    };
    let found = rows.into_iter().map(|r| ((TenantId(r.tenant_id), EventId(r.row.id)), Arc::new(r.row.into())));
    Ok(found.collect())
}

/// When an id was made, where it tells.
fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

/// What events can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("type", FieldType::Text),
        filter_only("source", FieldType::Text),
        filter_only("subject", FieldType::Text).key(),
        filter_only("actor", FieldType::Uuid),
        filter_only("caused_by", FieldType::Uuid),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of events.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Event>> {
    let columns =
        &["id", "type", "source", "subject", "data", "actor", "caused_by", "depth", "traceparent", "created_at"];
    let page: Page<Row> = tx.list(&Listing { table: "events", columns, scope: Vec::new(), slice }).await?;
    Ok(Page { rows: page.rows.into_iter().map(Event::from).collect(), more: page.more, total: page.total })
}

/// Empty the events about this subject of their data; the rest of them stays.
pub async fn erase_subject(tx: &mut TenantTx, subject: &str, data: &Json) -> Result<u64> {
    tx.execute("UPDATE events SET data = $3 WHERE tenant_id = $1 AND subject = $2", params![subject, data]).await
}

/// Records of a collection that are gone, in whose events this property names this user; so many at
/// most. What was erased is not found again.
pub async fn subjects_about(
    tx: &mut TenantTx,
    types: [&str; 3],
    property: &str,
    user: &str,
    most: u32,
) -> Result<Vec<String>> {
    macro_rules! about {
        ($data:literal, $before:literal) => {
            concat!(
                "SELECT DISTINCT subject FROM events WHERE tenant_id = $1 AND type IN ($2, $3, $4) AND subject IS NOT NULL
                 AND (lower(",
                $data,
                ") = $6 OR lower(",
                $before,
                ") = $6) LIMIT $7"
            )
        };
    }
    let sql = if tx.conn.is_postgres() {
        about!("data->'data'->>CAST($5 AS text)", "data->'before'->>CAST($5 AS text)")
    } else {
        about!("data->'$.data'->>$5", "data->'$.before'->>$5")
    };
    let [created, updated, deleted] = types;
    let rows: Vec<(String,)> = tx.fetch_all(sql, params![created, updated, deleted, property, user, most]).await?;
    Ok(rows.into_iter().map(|(subject,)| subject).collect())
}

/// Those of these events whose data were erased.
pub async fn erased_among(tx: &mut TenantTx, ids: &[EventId]) -> Result<Vec<EventId>> {
    let sql = if tx.conn.is_postgres() {
        "SELECT id FROM events WHERE tenant_id = $1 AND data->>'erased' = 'true'
         AND id IN (SELECT CAST(value AS uuid) FROM jsonb_array_elements_text($2))"
    } else {
        "SELECT id FROM events WHERE tenant_id = $1 AND data->>'erased' = 1
         AND id IN (SELECT unhex(value) FROM json_each($2))"
    };
    let ids: Json = ids.iter().map(|id| id.0.simple().to_string()).collect();
    let rows: Vec<(Uuid,)> = tx.fetch_all(sql, params![ids]).await?;
    Ok(rows.into_iter().map(|(id,)| EventId(id)).collect())
}

/// Events published in this time, in the order of it, after the one given: so many at most.
pub async fn between(
    tx: &mut TenantTx,
    since: Timestamp,
    until: Timestamp,
    after: Option<(Timestamp, EventId)>,
    most: u32,
) -> Result<Vec<Event>> {
    let (time, id) = after.unwrap_or((since, EventId(Uuid::nil())));
    let rows: Vec<Row> = tx
        .fetch_all(
            "SELECT id, type, source, subject, data, actor, caused_by, depth, traceparent, created_at FROM events
             WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND (created_at, id) > ($4, $5)
             ORDER BY created_at, id LIMIT $6",
            params![since, until, time, id, most],
        )
        .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// Where an event stands among all that were committed. Whoever reads on from a place misses
/// none and reads none twice, whichever transaction commits first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The transaction in PostgreSQL; the row in SQLite, which writes one after the other.
    pub position: i64,
    /// The event, among those of the transaction.
    pub event: Uuid,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.position, self.event.simple())
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(position, event)| {
            Some(Self { position: position.parse().ok().filter(|p| *p >= 0)?, event: event.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("`{text}` is not a place among events"))
    }
}

#[derive(FromRow)]
struct PlacedRow {
    position: i64,
    tenant_id: Uuid,
    #[sqlx(flatten)]
    row: Row,
}

/// An event, whose it is, and where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Where.
    pub place: Place,
    /// Its tenant.
    pub tenant: TenantId,
    /// The event.
    pub event: Event,
}

impl From<PlacedRow> for Placed {
    fn from(PlacedRow { position, tenant_id, row }: PlacedRow) -> Self {
        Self { place: Place { position, event: row.id }, tenant: TenantId(tenant_id), event: row.into() }
    }
}

macro_rules! read_on {
    ($position:literal, $whose:literal, $settled:literal, $from:literal, $event:literal, $since:literal, $most:literal) => {
        concat!(
            "SELECT ",
            $position,
            " AS position, tenant_id, id, type, source, subject, data, actor, caused_by, depth, traceparent, created_at
             FROM events WHERE ",
            $whose,
            "(",
            $position,
            ", id) > (",
            $from,
            ", ",
            $event,
            ") AND created_at >= ",
            $since,
            $settled,
            " ORDER BY ",
            $position,
            ", id LIMIT ",
            $most
        )
    };
}

/// Nothing can still be committed before this.
const SETTLED: &str =
    "SELECT purlin_position_base() + CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)";

/// The tenant's events after this place that were published since then, and so many at most.
pub async fn read_on(tx: &mut TenantTx, from: Place, since: Timestamp, most: u32) -> Result<Vec<Placed>> {
    let values = params![from.position, from.event, since, most];
    let sql = if tx.conn.is_postgres() {
        read_on!(
            "position",
            "tenant_id = $1 AND ",
            " AND position < purlin_position_base() + CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)",
            "$2",
            "$3",
            "$4",
            "$5"
        )
    } else {
        // By the row, not by the index over times: what is new lies at the end.
        read_on!("rowid", "+tenant_id = $1 AND ", "", "$2", "$3", "$4", "$5")
    };
    let rows: Vec<PlacedRow> = tx.fetch_all(sql, values).await?;
    Ok(rows.into_iter().map(Placed::from).collect())
}

/// The same over all tenants.
pub async fn read_on_all(tx: &mut PlatformTx, from: Place, since: Timestamp, most: u32) -> Result<Vec<Placed>> {
    let values = params![from.position, from.event, since, most];
    let sql = if tx.conn.is_postgres() {
        read_on!(
            "position",
            "",
            " AND position < purlin_position_base() + CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)",
            "$1",
            "$2",
            "$3",
            "$4"
        )
    } else {
        read_on!("rowid", "", "", "$1", "$2", "$3", "$4")
    };
    let rows: Vec<PlacedRow> = tx.fetch_all(sql, values).await?;
    Ok(rows.into_iter().map(Placed::from).collect())
}

/// The place after everything that was committed so far.
pub async fn head(tx: &mut PlatformTx) -> Result<Place> {
    let sql = if tx.conn.is_postgres() { SETTLED } else { "SELECT coalesce(max(rowid), 0) + 1 FROM events" };
    let (position,): (i64,) = tx.fetch_one(sql, Vec::new()).await?;
    Ok(Place { position: position - 1, event: Uuid::max() })
}

/// Have new events stand after every one that is there, also in a database that was restored into
/// another cluster, which counts transactions anew; whether they did not.
pub async fn settle_positions(tx: &mut PlatformTx) -> Result<bool> {
    if !tx.conn.is_postgres() {
        return Ok(false);
    }
    let (last,): (i64,) = tx
        .fetch_one(
            "SELECT greatest((SELECT coalesce(max(position), 0) FROM events), (SELECT coalesce(max(position), 0) FROM event_relays))",
            Vec::new(),
        )
        .await?;
    let (raised,): (bool,) = tx.fetch_one("SELECT purlin_raise_positions($1)", params![last]).await?;
    Ok(raised)
}

/// How far events were passed on under this name.
pub async fn relayed(tx: &mut PlatformTx, name: &str) -> Result<Option<Place>> {
    let row: Option<(i64, Uuid)> =
        tx.fetch_optional("SELECT position, event_id FROM event_relays WHERE name = $1", params![name]).await?;
    Ok(row.map(|(position, event)| Place { position, event }))
}

/// Remember how far events were passed on under this name.
pub async fn set_relayed(tx: &mut PlatformTx, name: &str, place: Place, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO event_relays (name, position, event_id, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET position = excluded.position, event_id = excluded.event_id, updated_at = excluded.updated_at",
        params![name, place.position, place.event, now],
    )
    .await?;
    Ok(())
}
