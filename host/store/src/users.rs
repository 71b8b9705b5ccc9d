//! Users.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType, Form},
    id::{TenantId, UserId},
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, value::params};

/// A user of one tenant.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct User {
    /// The id.
    #[sqlx(try_from = "Uuid")]
    pub id: UserId,
    /// The address, in lower case; unique within the tenant.
    pub email: String,
    /// The argon2id hash of the password, in PHC form. Never leaves the host.
    #[serde(skip)]
    pub password_hash: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// Whether the address was proven.
    pub is_verified: bool,
    /// Whether the user runs the platform.
    #[serde(skip)]
    pub is_operator: bool,
    /// When the user last signed in.
    pub last_login_at: Option<Timestamp>,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user last changed.
    pub updated_at: Timestamp,
}

/// The folded copies of what lists search for.
fn folded(user: &User) -> Option<Json> {
    let names = [("first_name", &user.first_name), ("last_name", &user.last_name)];
    let names = names.into_iter().filter_map(|(column, name)| Some((column, name.as_deref()?)));
    folded_copies(names.chain([("email", user.email.as_str())]))
}

/// Add a user.
pub async fn insert(tx: &mut TenantTx, user: &User, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO users (tenant_id, id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, created_at, updated_at, created_by, updated_by, folded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)",
        params![user.id, &user.email, &user.password_hash, user.first_name.clone(), user.last_name.clone(), user.is_active, user.is_verified, user.is_operator, user.created_at, user.updated_at, by, folded(user)],
    )
    .await?;
    Ok(())
}

macro_rules! user {
    ($named:literal, $lock:literal) => {
        concat!(
            "SELECT id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, last_login_at,
                created_at, updated_at
             FROM users WHERE tenant_id = $1 AND ",
            $named,
            " = $2 AND deleted_at IS NULL",
            $lock
        )
    };
}

/// The user of this id, unless deleted.
pub async fn by_id(tx: &mut TenantTx, id: UserId) -> Result<Option<User>> {
    tx.fetch_optional(user!("id", ""), params![id]).await
}

/// The user of this address, unless deleted.
pub async fn by_email(tx: &mut TenantTx, email: &str) -> Result<Option<User>> {
    tx.fetch_optional(user!("email", ""), params![email]).await
}

/// Change a user, unless the user changed since `read_at`.
pub async fn update(tx: &mut TenantTx, user: &User, read_at: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET email = $3, first_name = $4, last_name = $5, is_active = $6, is_verified = $7, updated_at = $8,
                updated_by = $9, folded = $11
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $10 AND deleted_at IS NULL",
            params![
                user.id,
                &user.email,
                user.first_name.clone(),
                user.last_name.clone(),
                user.is_active,
                user.is_verified,
                user.updated_at,
                by,
                read_at,
                folded(user)
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Addresses in other letters than ASCII, of users after this one; so many at most.
pub async fn addresses_beyond_ascii(tx: &mut TenantTx, after: UserId, most: u32) -> Result<Vec<(UserId, String)>> {
    let rows: Vec<(Uuid, String)> = tx
        .fetch_all(
            "SELECT id, email FROM users WHERE tenant_id = $1 AND id > $2 AND octet_length(email) <> length(email)
             ORDER BY id LIMIT $3",
            params![after, most],
        )
        .await?;
    Ok(rows.into_iter().map(|(id, email)| (UserId(id), email)).collect())
}

/// Write a user's address in its one form, unless another has that already; whether it was.
pub async fn correct_email(tx: &mut TenantTx, id: UserId, form: &str, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET email = $3, updated_at = $4 WHERE tenant_id = $1 AND id = $2
                AND NOT EXISTS (SELECT 1 FROM users o WHERE o.tenant_id = $1 AND o.email = $3)",
            params![id, form, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Tell readers that something of a user changed that is kept elsewhere, such as the roles.
pub async fn touch(tx: &mut TenantTx, id: UserId, now: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET updated_at = $3, updated_by = $4 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![id, now, by],
        )
        .await?;
    Ok(changed == 1)
}

/// Replace a password's hash.
pub async fn set_password_hash(tx: &mut TenantTx, id: UserId, hash: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE users SET password_hash = $3, updated_at = $4 WHERE tenant_id = $1 AND id = $2",
        params![id, hash, now],
    )
    .await?;
    Ok(())
}

/// Replace a password's hash by a stronger one of the same password, if it is still that one.
pub async fn rehash(tx: &mut TenantTx, id: UserId, old: &str, new: &str) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET password_hash = $4 WHERE tenant_id = $1 AND id = $2 AND password_hash = $3",
            params![id, old, new],
        )
        .await?;
    Ok(changed == 1)
}

/// The user of this id, unless deleted, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, id: UserId) -> Result<Option<User>> {
    let sql = if tx.conn.is_postgres() {
        user!("id", " FOR UPDATE")
    } else {
        // The writer is alone.
        user!("id", "")
    };
    tx.fetch_optional(sql, params![id]).await
}

/// Note a sign-in. Not a change of the user: `updated_at` stays.
pub async fn set_last_login(tx: &mut TenantTx, id: UserId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE users SET last_login_at = $3 WHERE tenant_id = $1 AND id = $2", params![id, now]).await?;
    Ok(())
}

/// Delete a user; the row stays until it is erased. Whether there was one.
pub async fn delete(tx: &mut TenantTx, id: UserId, now: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET deleted_at = $3, updated_at = $3, updated_by = $4, is_active = $5
             WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![id, now, by, false],
        )
        .await?;
    Ok(changed == 1)
}

/// Empty a deleted user of everything personal; what the address was, if there is such a user
/// who was not erased before.
pub async fn erase(tx: &mut TenantTx, id: UserId, now: Timestamp) -> Result<Option<String>> {
    let row: Option<(String,)> = tx
        .fetch_optional(
            "SELECT email FROM users WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NOT NULL AND erased_at IS NULL",
            params![id],
        )
        .await?;
    tx.execute(
        "UPDATE users SET email = $4, first_name = NULL, last_name = NULL, folded = NULL, password_hash = '', last_login_at = NULL,
            erased_at = $3, updated_at = $3
         WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NOT NULL AND erased_at IS NULL",
        params![id, now, format!("{id}@erased.invalid")],
    )
    .await?;
    Ok(row.map(|(email,)| email))
}

/// Whether there is a user of this id that was deleted.
pub async fn is_deleted(tx: &mut TenantTx, id: UserId) -> Result<bool> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM users WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NOT NULL",
            params![id],
        )
        .await?;
    Ok(count > 0)
}

/// What users can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field { form: Form::Email, ..Field::column("email", FieldType::Text).folded() },
        Field::nullable("first_name", FieldType::Text).folded(),
        Field::nullable("last_name", FieldType::Text).folded(),
        Field::column("is_active", FieldType::Boolean),
        Field::column("is_verified", FieldType::Boolean),
        Field::nullable("last_login_at", FieldType::Timestamp),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("updated_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

impl Weigh for User {
    fn bytes(&self) -> usize {
        self.email.len()
    }
}

/// A page of the tenant's users, deleted ones aside.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<User>> {
    let columns = &[
        "id",
        "email",
        "password_hash",
        "first_name",
        "last_name",
        "is_active",
        "is_verified",
        "is_operator",
        "last_login_at",
        "created_at",
        "updated_at",
    ];
    tx.list(&Listing { table: "users", columns, scope: vec![("deleted_at", None)], slice }).await
}

/// The tenant that an address means when nothing else says so: the one in which it was
/// proven, or has been known longest. A stranger who registers it again elsewhere does not
/// get in the way of its owner.
///
/// Before either comes `preferred`, if the address is known there.
pub async fn tenant_of_email(
    tx: &mut PlatformTx,
    email: &str,
    preferred: Option<TenantId>,
) -> Result<Option<TenantId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT tenant_id FROM users WHERE email = $1 AND deleted_at IS NULL
             ORDER BY CASE WHEN tenant_id = $2 THEN 0 ELSE 1 END, is_verified DESC, created_at, tenant_id LIMIT 1",
            params![email, preferred],
        )
        .await?;
    Ok(row.map(|(id,)| TenantId(id)))
}

/// How many active users of the tenant run the platform, beside this one.
pub async fn other_operators(tx: &mut TenantTx, but: UserId) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM users WHERE tenant_id = $1 AND is_operator AND is_active AND deleted_at IS NULL AND id <> $2",
            params![but],
        )
        .await?;
    Ok(count)
}

/// The users of the tenant that run the platform.
pub async fn operators(tx: &mut TenantTx) -> Result<Vec<User>> {
    tx.fetch_all(
        "SELECT id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, last_login_at,
            created_at, updated_at
         FROM users WHERE tenant_id = $1 AND is_operator AND deleted_at IS NULL ORDER BY email",
        params![],
    )
    .await
}

/// Let a user run the platform, or no more.
pub async fn set_operator(tx: &mut TenantTx, id: UserId, is_operator: bool, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE users SET is_operator = $3, is_active = (is_active OR $3), updated_at = $4
         WHERE tenant_id = $1 AND id = $2",
        params![id, is_operator, now],
    )
    .await?;
    Ok(())
}

/// Whether anybody runs the platform yet.
pub async fn operator_exists(tx: &mut PlatformTx) -> Result<bool> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM users WHERE is_operator AND deleted_at IS NULL", params![]).await?;
    Ok(count > 0)
}
