//! `/audit-logs`.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use purlin_domain::{access::Permission, principal::Principal};
use purlin_service::{ServiceError, audit, list::ListQuery, list::SIZE_MAX};
use uuid::Uuid;

use crate::{
    App,
    caller::{Caller, Standing},
    extract::{InPath, InQuery, Searched},
    problem::Problem,
    reply::{Answer, Reply},
};

/// The media type of newline-delimited JSON.
pub(crate) const NDJSON: &str = "application/x-ndjson";

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(audit::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(audit::list(&app, &caller, &query).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<Uuid>) -> Answer {
    Reply::ok(audit::get(&app, &caller, id).await?)
}

pub(crate) async fn verify(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(audit::verify(&app, &caller).await?)
}

/// Every row that passes, one JSON object a line, the oldest first unless the query says
/// otherwise. Read page by page while the client takes it.
pub(crate) async fn export(
    State(app): State<App>,
    Caller(caller): Caller,
    headers: HeaderMap,
    InQuery(mut query): InQuery,
) -> Result<Response, Problem> {
    if query.sort.is_empty() {
        query.sort = vec!["created_at".to_owned()];
    }
    if query.after.is_some() || query.before.is_some() {
        let why = "an export has no pages; filter by created_at".to_owned();
        return Err(ServiceError::BadParameter("page[after]".to_owned(), why).into());
    }
    query.count = false;
    query.size = Some(SIZE_MAX);
    // What is wrong with the query is told before the first line is.
    let first = page(&app, &caller, &query).await?;
    let standing = Standing::of(&headers, Permission::new("audit", "read"));
    let lines = stream::try_unfold(Some((Some(first), query)), move |state| {
        let (app, caller, standing) = (app.clone(), caller.clone(), standing.clone());
        async move {
            let Some((ready, mut query)) = state else { return Ok(None) };
            let (text, next) = match ready {
                Some(ready) => ready,
                None => {
                    standing.check(&app).await.map_err(std::io::Error::other)?;
                    page(&app, &caller, &query).await.map_err(std::io::Error::other)?
                }
            };
            query.after = next;
            let rest = query.after.is_some().then_some((None, query));
            Ok::<_, std::io::Error>(Some((Bytes::from(text), rest)))
        }
    });
    let headers = [(CONTENT_TYPE, NDJSON), (CONTENT_DISPOSITION, "attachment; filename=\"audit-log.ndjson\"")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

async fn page(app: &App, caller: &Principal, query: &ListQuery) -> Result<(String, Option<String>), ServiceError> {
    let page = audit::list(app, caller, query).await?;
    let mut text = String::new();
    for row in &page.data {
        text.push_str(&serde_json::to_string(row).map_err(ServiceError::internal)?);
        text.push('\n');
    }
    Ok((text, page.page.next))
}
