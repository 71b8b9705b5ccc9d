//! Reports: a list of the tenant, in whole, as a file; made by a job.

use std::{
    collections::HashSet,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use purlin_domain::{
    Json,
    access::Permission,
    audit::Origin,
    id::{JobId, UserId},
    job::JobState,
    principal::Principal,
    record::CollectionRef,
    text::normalized,
};
use purlin_store::jobs::{self, Claimed, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::task::spawn_blocking;

use crate::{
    Platform, Result, ServiceError, audit,
    files::NewFile,
    list::{ListPage, ListQuery, SIZE_MAX},
    personal, records, users,
};

/// The kind of the jobs that make reports.
pub(crate) const KIND: &str = "generate_report";
/// Where a tenant's reports lie among its files.
const FOLDER: &str = "reports";
/// What ended is forgotten by the week: how long after its time at most.
const HISTORY_SLACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a report is to hold: the payload of its job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// `users`, `audit-logs`, `apps/{plugin}/{collection}` or `personal-data`.
    of: String,
    format: Format,
    /// Whose personal data.
    user: Option<UserId>,
    /// A filter tree, as `POST …/search` takes it.
    filter: Option<Json>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Csv,
    Ndjson,
}

enum Source {
    Users,
    Audit,
    Collection(CollectionRef),
    /// What is personal of this user.
    Person(UserId),
}

impl Order {
    fn read(payload: &Json) -> Result<Self> {
        serde_json::from_value(payload.clone()).map_err(|error| {
            let why = format!(
                "a report takes `of` (users, audit-logs, apps/PLUGIN/COLLECTION, personal-data), `format` (csv, ndjson) and `filter` or `user`: {error}"
            );
            ServiceError::invalid("/payload", "shape", why)
        })
    }

    fn source(&self) -> Result<Source> {
        let parts: Vec<&str> = self.of.split('/').collect();
        match parts.as_slice() {
            ["personal-data"] => {
                let user = self.user.ok_or_else(|| ServiceError::invalid("/payload/user", "required", "whose?"))?;
                if self.format != Format::Ndjson || self.filter.is_some() {
                    let why = "personal data is of many kinds: take ndjson, and no filter";
                    return Err(ServiceError::invalid("/payload/format", "format", why));
                }
                Ok(Source::Person(user))
            }
            _ if self.user.is_some() => {
                Err(ServiceError::invalid("/payload/user", "unknown", "only a report of personal-data is about a user"))
            }
            ["users"] => Ok(Source::Users),
            ["audit-logs"] => Ok(Source::Audit),
            ["apps", plugin, collection] => Ok(Source::Collection(CollectionRef {
                plugin: (*plugin).to_owned(),
                collection: (*collection).to_owned(),
            })),
            _ => Err(ServiceError::invalid(
                "/payload/of",
                "unknown",
                "users, audit-logs, apps/PLUGIN/COLLECTION or personal-data",
            )),
        }
    }
}

/// The permission that a report with this payload needs; refuses one that is none.
pub(crate) fn needs(payload: &Json) -> Result<Permission> {
    let resource = match Order::read(payload)?.source()? {
        Source::Users => "users".to_owned(),
        Source::Audit => "audit".to_owned(),
        Source::Collection(of) => of.resource(),
        // It shows what any plugin keeps.
        Source::Person(_) => "*".to_owned(),
    };
    Ok(Permission::new(resource, "read"))
}

/// Refuse an order of what is not there, or with a filter that is wrong, before it is a job.
pub(crate) async fn check(platform: &Platform, principal: &Principal, payload: &Json) -> Result<()> {
    let order = Order::read(payload)?;
    let query = ListQuery { tree: order.filter.clone(), size: Some(1), ..ListQuery::default() };
    let found = match order.source()? {
        Source::Users => users::list(platform, principal, &query).await.map(drop),
        Source::Audit => audit::list(platform, principal, &query).await.map(drop),
        Source::Collection(of) => records::list(platform, principal, &of, &query).await.map(drop),
        Source::Person(_) => Ok(()),
    };
    found.map_err(|error| match error {
        ServiceError::NotFound => ServiceError::invalid("/payload/of", "unknown", "there is no such collection"),
        other => other.within("/payload"),
    })
}

/// Delete the files of jobs that are not remembered any more; how many.
pub(crate) async fn expire(platform: &Platform) -> Result<u64> {
    let before = platform.now() - platform.settings.job_history_life - HISTORY_SLACK;
    let files = Arc::clone(&platform.files);
    spawn_blocking(move || files.delete_before(FOLDER, before.into()))
        .await
        .map_err(ServiceError::internal)?
        .map_err(|error| ServiceError::Internal(format!("old reports could not be deleted: {error}")))
}

/// A report that was made.
#[derive(Debug, Serialize)]
struct Made {
    rows: u64,
    media_type: &'static str,
}

/// Make the report of a claimed job. Whether the claim still held.
pub(crate) async fn run(platform: &Arc<Platform>, claimed: &Claimed) -> Result<bool> {
    let order = Order::read(claimed.payload.as_ref().unwrap_or(&Json::Null))?;
    let source = order.source()?;
    let origin = Origin { request_id: claimed.id.to_string(), trace: Some(claimed.trace()), ..Origin::default() };
    let principal = Principal::system(claimed.tenant_id, origin);
    let mut file = blocking(platform, claimed, |platform, tenant, key| platform.files.create(tenant, &key)).await?;
    let mut query = ListQuery {
        tree: order.filter.clone(),
        sort: vec!["created_at".to_owned()],
        size: Some(SIZE_MAX),
        count: true,
        not_before: Some(purlin_domain::Timestamp::UNIX_EPOCH),
        ..ListQuery::default()
    };
    let columns = match order.format {
        Format::Csv => columns(platform, &principal, &source, &query).await?,
        Format::Ndjson => Vec::new(),
    };
    let (mut rows, mut total, mut is_first) = (0u64, 0i64, true);
    loop {
        let page = page(platform, &principal, &source, &query).await?;
        total = page.page.total.unwrap_or(total);
        rows += page.data.len() as u64;
        let text = match order.format {
            Format::Ndjson => ndjson(&page.data)?,
            Format::Csv => csv(&page.data, &columns, is_first)?,
        };
        is_first = false;
        file = written(file, text).await?;
        let Some(next) = page.page.next else { break };
        query.after = Some(next);
        query.count = false;
        let percent = i64::try_from(rows).unwrap_or(i64::MAX).saturating_mul(100) / total.max(1);
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        let said = Some(format!("{rows} of {total} rows"));
        if !jobs::tell_progress(&mut tx, claimed.fence(), percent.min(99), said, platform.now()).await? {
            return Ok(false);
        }
        tx.commit().await?;
    }
    // The same job makes the same file: one that was made before a crash is made again.
    spawn_blocking(move || file.keep()).await.map_err(ServiceError::internal)?.map_err(|error| unwritten(&error))?;
    let media_type = order.format.media_type();
    let result = serde_json::to_value(Made { rows, media_type }).map_err(ServiceError::internal)?;
    let done = Outcome::Succeeded { result: Some(result), progress: Some((100, Some(format!("{rows} rows")))) };
    let mut tx = platform.db.write(claimed.tenant_id).await?;
    let lane = claimed.ordering_key.as_deref();
    let held = jobs::finish(&mut tx, claimed.fence(), lane, &done, platform.now()).await?;
    tx.commit().await?;
    Ok(held)
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

fn key(job: JobId) -> String {
    format!("{FOLDER}/{job}")
}

async fn blocking<T: Send + 'static>(
    platform: &Arc<Platform>,
    claimed: &Claimed,
    work: impl FnOnce(&Platform, purlin_domain::id::TenantId, String) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let (platform, tenant, key) = (Arc::clone(platform), claimed.tenant_id, key(claimed.id));
    spawn_blocking(move || work(&platform, tenant, key))
        .await
        .map_err(ServiceError::internal)?
        .map_err(|error| unwritten(&error))
}

async fn written(mut file: Box<dyn NewFile>, text: Vec<u8>) -> Result<Box<dyn NewFile>> {
    let write = move || file.write_all(&text).map(|()| file);
    spawn_blocking(write).await.map_err(ServiceError::internal)?.map_err(|error| unwritten(&error))
}

/// An attempt that failed, not the platform being away: a folder that cannot be written
/// stays so, and the job ends as a dead letter that says why.
fn unwritten(error: &std::io::Error) -> ServiceError {
    ServiceError::Internal(format!("the report could not be written: {error}"))
}

async fn page(
    platform: &Arc<Platform>,
    principal: &Principal,
    source: &Source,
    query: &ListQuery,
) -> Result<ListPage<Json>> {
    match source {
        Source::Users => json_rows(users::list(platform, principal, query).await?),
        Source::Audit => json_rows(audit::list(platform, principal, query).await?),
        Source::Person(user) => personal::export(platform, principal, *user, query.after.as_deref()).await,
        Source::Collection(of) => json_rows(records::list(platform, principal, of, query).await?),
    }
}

fn json_rows<T: Serialize>(page: ListPage<T>) -> Result<ListPage<Json>> {
    let rows: std::result::Result<Vec<Json>, _> = page.data.into_iter().map(serde_json::to_value).collect();
    Ok(ListPage { data: rows.map_err(ServiceError::internal)?, page: page.page })
}

fn ndjson(rows: &[Json]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).map_err(ServiceError::internal)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Columns of a table at most.
const COLUMNS_MAX: usize = 1_000;

/// The columns of all rows, in the order in which they are met: a property that a late record alone
/// has is one, too.
async fn columns(
    platform: &Arc<Platform>,
    principal: &Principal,
    source: &Source,
    query: &ListQuery,
) -> Result<Vec<String>> {
    let (mut columns, mut known) = (Vec::new(), HashSet::new());
    let mut query = ListQuery { count: false, ..query.clone() };
    loop {
        let page = page(platform, principal, source, &query).await?;
        for name in page.data.iter().flat_map(|row| flatten(row).into_iter().map(|(name, _)| name)) {
            if known.insert(name.clone()) {
                columns.push(name);
            }
        }
        if columns.len() > COLUMNS_MAX {
            let why = format!("a table has at most {COLUMNS_MAX} columns; ask for `ndjson`");
            return Err(ServiceError::invalid("/payload/format", "size", why));
        }
        let Some(next) = page.page.next else { return Ok(columns) };
        query.after = Some(next);
    }
}

/// Rows as CSV (RFC 4180), an object in a row spread over columns such as `data.name`; below their
/// names, where they are the first.
fn csv(rows: &[Json], columns: &[String], is_first: bool) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if is_first {
        writer.write_record(columns).map_err(ServiceError::internal)?;
    }
    for row in rows {
        let row = flatten(row);
        if row.keys().any(|name| !columns.contains(name)) {
            // A record that was added meanwhile brought a column along: all is read again.
            return Err(ServiceError::Unavailable("the columns changed while the report was made".to_owned()));
        }
        let cells = columns.iter().map(|name| row.get(name).map(cell).unwrap_or_default());
        writer.write_record(cells).map_err(ServiceError::internal)?;
    }
    writer.into_inner().map_err(ServiceError::internal)
}

fn flatten(row: &Json) -> Map<String, Json> {
    let mut flat = Map::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        match value {
            Json::Object(inner) if name == "data" => {
                flat.extend(inner.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
            }
            value => drop(flat.insert(name.clone(), value.clone())),
        }
    }
    flat
}

/// What a spreadsheet would take for a formula is made text.
fn cell(value: &Json) -> String {
    let text = match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => return other.to_string(),
    };
    let begins = |first: char| matches!(first, '=' | '+' | '-' | '@' | '|');
    // Also behind what a spreadsheet takes for white space or the end of a cell, and in full width.
    let shown = normalized(&text);
    let is_formula = shown.trim_start_matches(|c: char| c.is_whitespace() || c == ';').starts_with(begins);
    if is_formula || text.starts_with(['\t', '\r']) { format!("'{text}") } else { text }
}

/// A report, to be read.
pub struct Report {
    /// Its bytes.
    pub bytes: Box<dyn Read + Send>,
    /// How many.
    pub length: u64,
    /// What they are.
    pub media_type: &'static str,
    /// A name for the file.
    pub name: String,
}

/// The file that a job made, for whoever may read what is in it.
pub async fn open(platform: &Arc<Platform>, principal: &Principal, id: JobId) -> Result<Report> {
    let job = crate::jobs::get(platform, principal, id).await?;
    if job.kind != KIND || job.state != JobState::Succeeded {
        return Err(ServiceError::NotFound);
    }
    crate::access::require(principal, &needs(&job.payload)?)?;
    let format = Order::read(&job.payload)?.format;
    let (platform, tenant) = (Arc::clone(platform), principal.tenant);
    let opened = spawn_blocking(move || platform.files.open(tenant, &key(id))).await.map_err(ServiceError::internal)?;
    let (bytes, length) = opened.map_err(|_| ServiceError::NotFound)?;
    let extension = if format == Format::Csv { "csv" } else { "ndjson" };
    Ok(Report { bytes, length, media_type: format.media_type(), name: format!("{id}.{extension}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_quotes_what_it_must_and_has_no_formulas() {
        let rows = [
            json!({ "id": 1, "name": "a,\"b\"", "data": { "n": -5, "x": "=1+1" } }),
            json!({ "id": 2, "name": null, "data": { "n": 1.5 } }),
        ];
        let columns = ["data.n", "data.x", "id", "name"].map(str::to_owned);
        let text = String::from_utf8(csv(&rows, &columns, true).unwrap()).unwrap();
        assert_eq!(text, "data.n,data.x,id,name\r\n-5,'=1+1,1,\"a,\"\"b\"\"\"\r\n1.5,,2,\r\n");
        let more = String::from_utf8(csv(&rows[1..], &columns, false).unwrap()).unwrap();
        assert_eq!(more, "1.5,,2,\r\n", "the second page has no head");
        assert!(csv(&rows, &columns[..2], false).is_err(), "no column is left out without a word");
    }

    #[test]
    fn a_cell_is_no_formula_however_it_is_written() {
        for text in ["=1", " =1", ";=1", "\u{ff1d}1", "+1", "-1", "@x", "|cmd", "\t=1", "\rx"] {
            assert_eq!(cell(&json!(text)), format!("'{text}"));
        }
        for text in ["a=1", "1;=", "", "\u{e9}"] {
            assert_eq!(cell(&json!(text)), text);
        }
    }

    #[test]
    fn a_report_needs_what_it_shows() {
        let needed = |of: &str| needs(&json!({ "of": of, "format": "csv" })).map(|p| p.to_string()).ok();
        assert_eq!(needed("users").as_deref(), Some("users:read"));
        assert_eq!(needed("audit-logs").as_deref(), Some("audit:read"));
        assert_eq!(needed("apps/shop/items").as_deref(), Some("shop.items:read"));
        assert_eq!(needed("sessions"), None);
        assert!(needs(&json!({ "of": "users", "format": "pdf" })).is_err());
    }
}
