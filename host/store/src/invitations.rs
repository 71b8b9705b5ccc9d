//! Invitations to join a tenant.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType, Form},
    id::InvitationId,
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, Result, Slice, TenantTx, Weigh, value::params};

/// An invitation.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Invitation {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: InvitationId,
    /// The address it was sent to.
    pub email: String,
    /// The roles that whoever accepts it gets: a list of ids.
    pub role_ids: Json,
    /// `pending`, `accepted` or `revoked`; one that expired stays `pending`.
    pub status: String,
    /// A digest of what its mail carries. Never leaves the host.
    #[serde(skip)]
    pub secret_hash: String,
    /// Who invited.
    pub invited_by: Option<Uuid>,
    /// How often it was sent.
    pub sent_count: i64,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Weigh for Invitation {
    fn bytes(&self) -> usize {
        self.role_ids.to_string().len()
    }
}

const COLUMNS: &[&str] = &[
    "id",
    "email",
    "role_ids",
    "status",
    "secret_hash",
    "invited_by",
    "sent_count",
    "expires_at",
    "created_at",
    "updated_at",
];

/// Add one.
pub async fn insert(tx: &mut TenantTx, invitation: &Invitation) -> Result<()> {
    let mut row = params![
        invitation.id,
        &invitation.email,
        &invitation.role_ids,
        &invitation.status,
        &invitation.secret_hash,
        invitation.invited_by,
        invitation.sent_count,
        invitation.expires_at,
        invitation.created_at,
        invitation.updated_at
    ];
    row.extend(params![folded_copies([("email", invitation.email.as_str())])]);
    tx.insert_many("invitations", &[COLUMNS, &["folded"]].concat(), vec![row]).await
}

/// The invitation of this id.
pub async fn by_id(tx: &mut TenantTx, id: InvitationId) -> Result<Option<Invitation>> {
    tx.fetch_optional(
        "SELECT id, email, role_ids, status, secret_hash, invited_by, sent_count, expires_at, created_at, updated_at
         FROM invitations WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// Change one, unless it changed since `read_at`.
pub async fn update(tx: &mut TenantTx, invitation: &Invitation, read_at: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE invitations SET status = $3, secret_hash = $4, sent_count = $5, expires_at = $6, updated_at = $7
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $8",
            params![
                invitation.id,
                &invitation.status,
                &invitation.secret_hash,
                invitation.sent_count,
                invitation.expires_at,
                invitation.updated_at,
                read_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Take back the invitation of an address that waits but ended.
pub async fn revoke_ended(tx: &mut TenantTx, email: &str, now: Timestamp) -> Result<u64> {
    tx.execute(
        "UPDATE invitations SET status = 'revoked', updated_at = $3
         WHERE tenant_id = $1 AND email = $2 AND status = 'pending' AND expires_at <= $3",
        params![email, now],
    )
    .await
}

/// Forget what became of the invitations of an address; one that waits is a new one.
pub async fn delete_of_email(tx: &mut TenantTx, email: &str) -> Result<u64> {
    tx.execute("DELETE FROM invitations WHERE tenant_id = $1 AND email = $2 AND status <> 'pending'", params![email])
        .await
}

/// What invitations can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field { form: Form::Email, ..Field::column("email", FieldType::Text).folded() },
        Field::listed("status", ["pending", "accepted", "revoked"]),
        Field::column("expires_at", FieldType::Timestamp),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of the tenant's invitations.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Invitation>> {
    tx.list(&Listing { table: "invitations", columns: COLUMNS, scope: Vec::new(), slice }).await
}
