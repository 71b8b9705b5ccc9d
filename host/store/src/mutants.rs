//! For tests: a statement that forgets its tenant, so that the isolation tests can be seen
//! to fail; the fence removed, for those of the engine. Compiled in with the feature `mutants` alone.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The predicate that makes a statement see one tenant.
const PREDICATE: &str = "tenant_id = $1";
/// What stands for every list, whose statement is built anew each time.
pub const LISTS: &str = "every list";

static CHOSEN: RwLock<Option<&'static str>> = RwLock::new(None);
static SEEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

static IS_UNFENCED: AtomicBool = AtomicBool::new(false);

/// From now on the end of a run is written whoever holds the job.
pub fn remove_fence(is_removed: bool) {
    IS_UNFENCED.store(is_removed, Ordering::Relaxed);
}

pub(crate) fn is_unfenced() -> bool {
    IS_UNFENCED.load(Ordering::Relaxed)
}

/// From now on this statement forgets its tenant; none does without one.
pub fn choose(statement: Option<&'static str>) {
    *CHOSEN.write().unwrap_or_else(PoisonError::into_inner) = statement;
}

/// Every statement with a tenant to forget that ran so far.
pub fn seen() -> Vec<&'static str> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
}

/// Whether this statement is to forget its tenant.
pub(crate) fn forgets(statement: &'static str) -> bool {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(statement);
    *CHOSEN.read().unwrap_or_else(PoisonError::into_inner) == Some(statement)
}

/// The statement, with or without its tenant.
pub(crate) fn rewrite(sql: &'static str) -> SqlStr {
    let of_tenants = sql.contains("FROM tenants WHERE id = $1") || sql.starts_with("UPDATE tenants");
    if (sql.contains(PREDICATE) || of_tenants) && forgets(sql) {
        let everything = "CAST($1 AS text) IS NOT NULL";
        // Whatever alias stands before the column goes with it.
        let mut rewritten = String::new();
        let mut rest = sql;
        while let Some(at) = rest.find(PREDICATE) {
            let before = rest.get(..at).unwrap_or_default();
            rewritten.push_str(before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'));
            rewritten.push_str(everything);
            rest = rest.get(at + PREDICATE.len()..).unwrap_or_default();
        }
        rewritten.push_str(rest);
        return AssertSqlSafe(rewritten.replace("WHERE id = $1", &format!("WHERE {everything}"))).into_sql_str();
    }
    sql.into_sql_str()
}
