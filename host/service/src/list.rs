//! Lists: what a caller asks for, checked against what a resource offers, and the
//! cursors that lead from page to page.

mod keys;

use purlin_domain::{
    Json, Timestamp, cursor,
    document::NUL,
    error::{HostError, Violation},
    filter::{Field, FieldType, Filter, Op, Operand, PREDICATES_MAX, values},
    id::TenantId,
    sort::{self, SortKey},
};
use purlin_store::{Page, Slice};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Platform, Result, ServiceError};

/// Rows of a page when the caller does not say.
pub const SIZE_DEFAULT: u32 = 50;
/// Rows of a page at most; more is cut to this.
pub const SIZE_MAX: u32 = 200;

/// One `filter[field][op]=value` of a query string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The parameter's name as it was written.
    pub name: String,
    /// The field.
    pub field: String,
    /// The operator.
    pub op: String,
    /// The value as it was written.
    pub value: String,
}

/// What a caller asks of a list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Filters of a query string; all must hold.
    pub parameters: Vec<Parameter>,
    /// A filter tree.
    pub tree: Option<Json>,
    /// Sort keys, a `-` before those that descend.
    pub sort: Vec<String>,
    /// Rows wanted.
    pub size: Option<u32>,
    /// The cursor that the page follows.
    pub after: Option<String>,
    /// The cursor that the page precedes.
    pub before: Option<String>,
    /// Words that must all be in what is searchable.
    pub words: Option<String>,
    /// Whether to count all that passes.
    pub count: bool,
    /// Nothing created before this, when the caller does not say how far to go back.
    pub not_before: Option<Timestamp>,
}

/// The body of a search: what a query string says, with a tree as its filter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// A filter tree: `{"field", "op", "value"}`, `{"and": […]}`, `{"or": […]}` or `{"not": …}`.
    pub filter: Option<Json>,
    /// Words that must all be in the properties that are searchable, for collections that have
    /// such.
    pub q: Option<String>,
    /// Sort keys, a `-` before those that descend.
    #[serde(default)]
    pub sort: Vec<String>,
    /// Which page.
    #[serde(default)]
    pub page: SearchPage,
}

/// Which page of a search.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchPage {
    /// Rows wanted, 1 to 200.
    pub size: Option<u32>,
    /// The cursor that the page follows.
    pub after: Option<String>,
    /// The cursor that the page precedes.
    pub before: Option<String>,
}

impl From<Search> for ListQuery {
    fn from(search: Search) -> Self {
        Self {
            tree: search.filter,
            words: search.q,
            sort: search.sort,
            size: search.page.size,
            after: search.page.after,
            before: search.page.before,
            ..Self::default()
        }
    }
}

/// A checked query.
pub struct Prepared {
    /// What passes.
    pub filter: Filter,
    /// In what order.
    pub sort: Vec<SortKey>,
    /// From which row on, by its values.
    pub from: Option<Vec<Option<Operand>>>,
    /// Whether the page precedes that row.
    pub backwards: bool,
    /// How many.
    pub size: u32,
    count: bool,
    context: String,
}

/// A page of an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct ListPage<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where it lies.
    pub page: PageInfo,
}

/// Where a page lies in its list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PageInfo {
    /// Rows asked for, after the cut.
    pub size: u32,
    /// Pass as `page[after]` for the next page; null on the last.
    pub next: Option<String>,
    /// Pass as `page[before]` for the page before; null on the first.
    pub prev: Option<String>,
    /// How many rows pass in all; only with `Prefer: count=exact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// A row whose sort keys can be put into a cursor.
pub trait Sortable {
    /// The value of a field, none where it is missing.
    fn operand(&self, field: &Field) -> Option<Operand>;
}

impl Prepared {
    /// Check a query against the fields of a resource. Without a sort the newest come first.
    pub fn new(
        platform: &Platform,
        tenant: TenantId,
        resource: &str,
        fields: &[Field],
        query: &ListQuery,
    ) -> Result<Self> {
        let filter = filter(query, fields)?;
        let created_at = fields.iter().find(|f| f.name == "created_at");
        let by_default = created_at.map_or("", |f| if f.sortable { "-created_at" } else { "-id" });
        let keys: Vec<&str> =
            if query.sort.is_empty() { vec![by_default] } else { query.sort.iter().map(String::as_str).collect() };
        let keys = keys.into_iter().filter(|key| !key.is_empty());
        let sort = sort::parse(keys, fields).map_err(|v| ServiceError::BadParameter("sort".to_owned(), v.detail))?;
        let context = format!("{tenant}|{resource}|{sort:?}|{filter:?}");
        let (name, cursor, backwards) = match (&query.after, &query.before) {
            (Some(_), Some(_)) => {
                let why = "a page follows a cursor or precedes one, not both".to_owned();
                return Err(ServiceError::BadParameter("page[before]".to_owned(), why));
            }
            (after, None) => ("page[after]", after, false),
            (None, before) => ("page[before]", before, true),
        };
        let from = cursor.as_deref().map(|cursor| open(platform, &context, &sort, name, cursor)).transpose()?;
        let size = query.size.unwrap_or(SIZE_DEFAULT).clamp(1, SIZE_MAX);
        let filter = match query.not_before {
            Some(time) => {
                let field = Field::column("created_at", FieldType::Timestamp);
                Filter::And(vec![filter, Filter::Is(field, Op::Gte, vec![Operand::Timestamp(time)])])
            }
            None => filter,
        };
        Ok(Self { filter, sort, from, backwards, size, count: query.count, context })
    }

    /// What the store is asked for.
    pub fn slice(&self) -> Slice<'_> {
        Slice {
            filter: &self.filter,
            sort: &self.sort,
            from: self.from.as_deref(),
            backwards: self.backwards,
            size: self.size,
            count: self.count,
            lookup: None,
        }
    }

    /// The page that was found.
    pub fn page<T: Sortable>(&self, platform: &Platform, found: Page<T>) -> ListPage<T> {
        let Page { rows, more, total } = found;
        // The row that a cursor was made from lies on its other side.
        let (next, prev) = if self.backwards { (true, more) } else { (more, self.from.is_some()) };
        let next = rows.last().filter(|_| next).map(|last| self.cursor(platform, last));
        let prev = rows.first().filter(|_| prev).map(|first| self.cursor(platform, first));
        ListPage { data: rows, page: PageInfo { size: self.size, next, prev, total } }
    }

    /// The cursor that leads on from this row. It holds the row's values, so it outlives the row.
    pub fn cursor<T: Sortable>(&self, platform: &Platform, last: &T) -> String {
        let values: Vec<Option<Operand>> = self.sort.iter().map(|key| last.operand(&key.field)).collect();
        cursor::seal(platform.secrets.cursors(), &self.context, &values)
    }
}

fn filter(query: &ListQuery, fields: &[Field]) -> Result<Filter> {
    let (mut parts, mut cost) = (Vec::new(), 0);
    for parameter in &query.parameters {
        let bad = |detail: String| ServiceError::BadParameter(parameter.name.clone(), detail);
        let field = fields
            .iter()
            .find(|f| f.name == parameter.field && f.filterable)
            .ok_or_else(|| bad(format!("`{}` is not a field to filter by", parameter.field)))?;
        let op = Op::parse(&parameter.op).ok_or_else(|| bad(format!("`{}` is not an operator", parameter.op)))?;
        let wanted = if op == Op::Null { FieldType::Boolean } else { field.field_type };
        cost += op.cost();
        let texts = match op {
            Op::In | Op::Nin => values(&parameter.value),
            _ => vec![parameter.value.clone()],
        };
        let operands = texts.iter().map(|text| Operand::parse(wanted, text)).collect::<std::result::Result<_, _>>();
        parts.push(Filter::predicate(field, op, operands.map_err(bad)?, "").map_err(|v| bad(v.detail))?);
    }
    if cost > PREDICATES_MAX {
        let why = format!("at most {PREDICATES_MAX} filters; one with a pattern counts as {}", Op::Like.cost());
        return Err(ServiceError::BadParameter("filter".to_owned(), why));
    }
    if let Some(words) = &query.words {
        parts.extend(having(words, fields)?);
    }
    if let Some(tree) = &query.tree {
        parts.push(Filter::parse(tree, fields).map_err(in_filter)?);
    }
    Ok(Filter::And(parts))
}

/// Each of the words is in one of the searchable fields, whatever its case.
fn having(words: &str, fields: &[Field]) -> Result<Vec<Filter>> {
    let bad = |detail: String| Err(ServiceError::BadParameter("q".to_owned(), detail));
    if words.contains('\0') {
        return bad(NUL.to_owned());
    }
    let searchable: Vec<&Field> = fields.iter().filter(|field| field.searchable).collect();
    if searchable.is_empty() {
        return bad("this list has no searchable fields".to_owned());
    }
    let words: Vec<&str> = words.split_whitespace().collect();
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_BYTES_MAX) {
        return bad(format!("at most {WORDS_MAX} words of at most {WORD_BYTES_MAX} bytes"));
    }
    if words.len() * searchable.len() > PATTERNS_MAX {
        return bad(format!("at most {} words in this list", PATTERNS_MAX / searchable.len()));
    }
    let in_one = |word: &&str| {
        let word = word.replace('\\', "\\\\").replace('*', "\\*");
        let pattern = Operand::Text(format!("*{word}*"));
        let has = |field: &&Field| Filter::Is((*field).clone(), Op::Ilike, vec![pattern.clone()]);
        Filter::Or(searchable.iter().map(has).collect())
    };
    Ok(words.iter().map(in_one).collect())
}

/// Words of a search, and bytes of one, at most.
const WORDS_MAX: usize = 10;
const WORD_BYTES_MAX: usize = 100;
/// Times that a search for words looks through a text, for each row.
const PATTERNS_MAX: usize = 40;

fn in_filter(violation: Violation) -> ServiceError {
    ServiceError::Invalid(vec![Violation { pointer: format!("/filter{}", violation.pointer), ..violation }])
}

fn open(
    platform: &Platform,
    context: &str,
    sort: &[SortKey],
    name: &str,
    cursor: &str,
) -> Result<Vec<Option<Operand>>> {
    let bad = || {
        ServiceError::BadParameter(
            name.to_owned(),
            "this cursor does not belong to this list; begin again without it".to_owned(),
        )
    };
    cursor::open(platform.secrets.cursors(), context, sort, cursor).ok_or_else(bad)
}

/// The filter of a guest's count: a tree, or everything.
pub(crate) fn tree_filter(tree: Option<&Json>, fields: &[Field]) -> std::result::Result<Filter, HostError> {
    match tree {
        Some(tree) => Filter::parse(tree, fields).map_err(|v| HostError::Invalid(vec![v])),
        None => Ok(Filter::everything()),
    }
}
