//! The sort keys of every kind of row, for cursors.

use purlin_domain::{
    Timestamp,
    filter::{Field, Operand},
    record::Record,
};
use purlin_store::{
    api_keys::ApiKey, audit::AuditRow, invitations::Invitation, jobs::JobSummary, permissions::CataloguePermission,
    plugin_files::Stored, plugin_logs::PluginLog, plugin_usage::Invocation, roles::Role, schedules::Schedule,
    sessions::Session, tenants::Tenant, users::User, webhooks::Webhook,
};
use uuid::Uuid;

use super::Sortable;

impl Sortable for Record {
    fn operand(&self, field: &Field) -> Option<Operand> {
        match field.name.as_str() {
            "id" => Some(Operand::Uuid(self.id.0)),
            "created_at" => Some(Operand::Timestamp(self.created_at)),
            "updated_at" => Some(Operand::Timestamp(self.updated_at)),
            name => self.data.get(name).and_then(|value| Operand::of(field.field_type, value).ok()),
        }
    }
}

/// The sort keys of rows that have just these.
macro_rules! sortable {
    ($($row:ty { $($name:literal => |$r:ident| $operand:expr),* $(,)? })*) => {$(
        impl Sortable for $row {
            fn operand(&self, field: &Field) -> Option<Operand> {
                match field.name.as_str() {
                    $($name => { let $r = self; operand($operand) })*
                    _ => None,
                }
            }
        }
    )*};
}

fn operand(value: impl Into<Key>) -> Option<Operand> {
    value.into().0
}

/// The value of a sort key.
struct Key(Option<Operand>);

impl From<Uuid> for Key {
    fn from(id: Uuid) -> Self {
        Self(Some(Operand::Uuid(id)))
    }
}

impl From<Timestamp> for Key {
    fn from(time: Timestamp) -> Self {
        Self(Some(Operand::Timestamp(time)))
    }
}

impl From<Option<Timestamp>> for Key {
    fn from(time: Option<Timestamp>) -> Self {
        Self(time.map(Operand::Timestamp))
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Some(Operand::Text(text.to_owned())))
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Option<String>> for Key {
    fn from(text: &Option<String>) -> Self {
        Self(text.clone().map(Operand::Text))
    }
}

impl From<bool> for Key {
    fn from(value: bool) -> Self {
        Self(Some(Operand::Boolean(value)))
    }
}

sortable! {
    AuditRow { "id" => |r| r.id, "created_at" => |r| r.created_at }
    PluginLog { "id" => |r| r.id, "created_at" => |r| r.created_at }
    purlin_domain::event::Event { "id" => |r| r.id.0, "created_at" => |r| r.time }
    JobSummary { "id" => |r| r.id.0 }
    Schedule { "id" => |r| r.id, "created_at" => |r| r.created_at }
    Invocation { "id" => |r| r.id, "created_at" => |r| r.created_at }
    Stored { "id" => |r| r.id, "key" => |r| &r.key, "updated_at" => |r| r.updated_at }
    Webhook { "id" => |r| r.id, "created_at" => |r| r.created_at }
    User {
        "id" => |r| r.id.0,
        "email" => |r| &r.email,
        "first_name" => |r| &r.first_name,
        "last_name" => |r| &r.last_name,
        "is_active" => |r| r.is_active,
        "is_verified" => |r| r.is_verified,
        "last_login_at" => |r| r.last_login_at,
        "created_at" => |r| r.created_at,
        "updated_at" => |r| r.updated_at,
    }
    Role { "id" => |r| r.id.0, "name" => |r| &r.name, "created_at" => |r| r.created_at, "updated_at" => |r| r.updated_at }
    CataloguePermission {
        "id" => |r| r.id,
        "resource" => |r| &r.resource,
        "action" => |r| &r.action,
        "plugin" => |r| &r.plugin,
    }
    ApiKey {
        "id" => |r| r.id.0,
        "name" => |r| &r.name,
        "hint" => |r| &r.hint,
        "expires_at" => |r| r.expires_at,
        "last_used_at" => |r| r.last_used_at,
        "created_at" => |r| r.created_at,
    }
    Session {
        "id" => |r| r.id.0,
        "expires_at" => |r| r.expires_at,
        "rotated_at" => |r| r.rotated_at,
        "created_at" => |r| r.created_at,
    }
    Invitation {
        "id" => |r| r.id.0,
        "email" => |r| &r.email,
        "status" => |r| &r.status,
        "expires_at" => |r| r.expires_at,
        "created_at" => |r| r.created_at,
    }
    Tenant {
        "id" => |r| r.id.0,
        "name" => |r| &r.name,
        "slug" => |r| &r.slug,
        "domain" => |r| &r.domain,
        "status" => |r| r.status.as_str(),
        "plan" => |r| &r.plan,
        "created_at" => |r| r.created_at,
        "updated_at" => |r| r.updated_at,
    }
}
