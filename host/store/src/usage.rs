//! What a tenant uses of its plan.

use std::ops::AddAssign;

use purlin_domain::{Json, Timestamp, document::weight};
use sqlx::FromRow;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// Users who are not deleted.
pub async fn users(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM users WHERE tenant_id = $1 AND deleted_at IS NULL", params![]).await?;
    Ok(count)
}

/// Enabled plugins, those that the host paused among them.
pub async fn plugins(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one("SELECT count(*) FROM installations WHERE tenant_id = $1 AND state <> 'disabled'", params![])
        .await?;
    Ok(count)
}

/// Bytes of record data, as JSON text.
pub async fn storage_bytes(tx: &mut TenantTx) -> Result<i64> {
    let sql = if tx.conn.is_postgres() {
        "SELECT CAST(coalesce(sum(octet_length(data::text)), 0) AS bigint) FROM records WHERE tenant_id = $1"
    } else {
        "SELECT coalesce(sum(length(CAST(data AS blob))), 0) FROM records WHERE tenant_id = $1"
    };
    let (bytes,): (i64,) = tx.fetch_one(sql, params![]).await?;
    Ok(bytes)
}

/// Bytes of what a transaction adds that stays for a time, whatever becomes of what it tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows of the audit log.
    pub audit: i64,
    /// Events.
    pub events: i64,
    /// Jobs.
    pub jobs: i64,
    /// Answers that are kept for repetitions.
    pub answers: i64,
    /// Lines of plugin logs.
    pub logs: i64,
}

impl Stored {
    /// Each kind by its name.
    pub fn kinds(&self) -> [(&'static str, i64); 5] {
        [
            ("audit", self.audit),
            ("events", self.events),
            ("jobs", self.jobs),
            ("answers", self.answers),
            ("logs", self.logs),
        ]
    }

    /// All of it.
    pub fn total(&self) -> i64 {
        self.kinds().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl AddAssign for Stored {
    fn add_assign(&mut self, more: Self) {
        self.audit += more.audit;
        self.events += more.events;
        self.jobs += more.jobs;
        self.answers += more.answers;
        self.logs += more.logs;
    }
}

/// About what a row takes beside its largest member.
const ROW_BYTES: usize = 300;

/// The bytes of a row with this document.
pub(crate) fn row_bytes(document: &Json) -> i64 {
    i64::try_from(ROW_BYTES + weight(document)).unwrap_or(i64::MAX)
}

/// What was stored of a kind on a day.
#[derive(Clone, Debug, FromRow)]
pub struct StoredOn {
    /// The kind.
    pub kind: String,
    /// When the day began.
    pub day: Timestamp,
    /// Bytes.
    pub bytes: i64,
}

/// What was stored of each kind, day by day.
pub async fn stored(tx: &mut TenantTx) -> Result<Vec<StoredOn>> {
    tx.fetch_all("SELECT kind, day, bytes FROM stored_bytes WHERE tenant_id = $1", params![]).await
}

/// Add to what was stored. Each entry has `t` (tenant), `k` (kind), `d` (the day) and `bytes`.
pub async fn add_stored(tx: &mut PlatformTx, entries: Json, now: Timestamp) -> Result<()> {
    macro_rules! add {
        ($rows:literal) => {
            concat!(
                "INSERT INTO stored_bytes (tenant_id, kind, day, bytes, created_at, updated_at) ",
                $rows,
                " ON CONFLICT (tenant_id, kind, day) DO UPDATE SET bytes = stored_bytes.bytes + excluded.bytes,
                    updated_at = excluded.updated_at"
            )
        };
    }
    let sql = if tx.conn.is_postgres() {
        add!(
            "SELECT t, k, d, bytes, $2, $2 FROM jsonb_to_recordset($1) AS r(t uuid, k text, d timestamptz, bytes bigint)
             ORDER BY t, k, d"
        )
    } else {
        add!(
            "SELECT unhex(value->>'t'), value->>'k', value->>'d', value->>'bytes', $2, $2 FROM json_each($1) WHERE true"
        )
    };
    tx.execute(sql, params![entries, now]).await?;
    Ok(())
}

/// Forget what was stored of a kind on days before this one.
pub async fn delete_stored(tx: &mut PlatformTx, kind: &str, before: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM stored_bytes WHERE kind = $1 AND day < $2", params![kind, before]).await
}

/// Bytes of people, roles, keys, invitations, webhooks, plugins and settings.
pub async fn state_bytes(tx: &mut TenantTx) -> Result<i64> {
    macro_rules! sum {
        ($($table:literal, $tenant:literal, $large:literal;)*) => {
            concat!("SELECT CAST(0", $(
                " + (SELECT coalesce(sum(300 + octet_length(CAST(", $large, " AS text))), 0) FROM ", $table,
                " WHERE ", $tenant, " = $1)",
            )* " AS bigint)")
        };
    }
    let sql = sum! {
        "tenants", "id", "settings";
        "users", "tenant_id", "email";
        "roles", "tenant_id", "description";
        "role_permissions", "tenant_id", "role_id";
        "user_roles", "tenant_id", "role_id";
        "api_keys", "tenant_id", "scopes";
        "invitations", "tenant_id", "role_ids";
        "webhooks", "tenant_id", "event_types";
        "schedules", "tenant_id", "cron";
        "installations", "tenant_id", "settings";
    };
    let (bytes,): (i64,) = tx.fetch_one(sql, params![]).await?;
    Ok(bytes)
}
