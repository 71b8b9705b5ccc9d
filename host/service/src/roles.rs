//! Roles and what they permit.

use purlin_domain::{
    Timestamp, access::Permission, audit::difference, error::Violation, id::RoleId, principal::Principal, text::folded,
};
use purlin_store::{
    StoreError, TenantTx, permissions,
    permissions::CataloguePermission,
    roles::{self, NewRole, Role},
    tenants,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation, conflict, expect},
    list::{ListPage, ListQuery, Prepared},
};

/// Permissions of one role at most.
const PERMISSIONS_MAX: usize = 200;

/// A role, with what it permits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoleView {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// What it permits.
    pub permissions: Vec<CataloguePermission>,
}

/// A role to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoleRequest {
    /// Its name, unique within the tenant.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What it permits: permissions of the catalogue that the caller holds.
    #[serde(default)]
    pub permissions: Vec<Permission>,
}

/// What may be changed of a role. A field that is missing stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// A permission to be added to a role: by its id, or by its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionRef {
    /// Its id in the catalogue.
    pub permission_id: Option<Uuid>,
    /// Its name, `resource:action`.
    pub permission: Option<Permission>,
}

/// A page of the catalogue: the platform's permissions, and those of uploaded plugins.
pub async fn catalogue(
    platform: &Platform,
    principal: &Principal,
    query: &ListQuery,
) -> Result<ListPage<CataloguePermission>> {
    let prepared = Prepared::new(platform, principal.tenant, "permissions", &permissions::fields(), query)?;
    let page = permissions::list(&mut platform.db.platform_read().await?, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// A page of the tenant's roles.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Role>> {
    let prepared = Prepared::new(platform, principal.tenant, "roles", &roles::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = roles::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// A role, with what it permits.
pub async fn get(platform: &Platform, principal: &Principal, id: RoleId) -> Result<RoleView> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let role = roles::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
    let permissions = roles::permissions_of(&mut tx, id).await?;
    Ok(RoleView { role, permissions })
}

fn violations(name: Option<&str>, description: Option<&str>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let fits = |name: &str| (1..=60).contains(&name.trim().chars().count()) && !name.chars().any(char::is_control);
    if name.is_some_and(|name| !fits(name)) {
        wrong.push(Violation::new("/name", "length", "give a name of 1 to 60 characters"));
    }
    if description.is_some_and(|text| text.chars().count() > 500) {
        wrong.push(Violation::new("/description", "length", "use at most 500 characters"));
    }
    wrong
}

fn taken() -> ServiceError {
    ServiceError::Conflict("role_taken", "there is a role of this name already".to_owned())
}

/// Refuse a name that people would take for another role's: two that differ in case alone. The
/// tenant is held, so that two requests do not both find a name free.
async fn require_free(tx: &mut TenantTx, name: &str, own: Option<RoleId>) -> Result<()> {
    tenants::hold(tx).await?;
    let wanted = folded(name);
    let all = roles::names(tx).await?;
    if all.iter().any(|(id, name)| Some(*id) != own && folded(name) == wanted) { Err(taken()) } else { Ok(()) }
}

/// Make a role.
pub async fn create(platform: &Platform, principal: &Principal, new: NewRoleRequest) -> Result<RoleView> {
    let mut wrong = violations(Some(&new.name), Some(&new.description));
    if new.permissions.len() > PERMISSIONS_MAX {
        wrong.push(Violation::new("/permissions", "size", format!("at most {PERMISSIONS_MAX}")));
    }
    let mut catalogue = platform.db.platform_read().await?;
    for (i, permission) in new.permissions.iter().enumerate() {
        if permissions::by_name(&mut catalogue, permission).await?.is_none() {
            let detail = format!("{permission} is not in the catalogue of permissions");
            wrong.push(Violation::new(format!("/permissions/{i}"), "unknown", detail));
        }
    }
    drop(catalogue);
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    access::require_all(principal, &new.permissions)?;
    let mut change = Mutation::begin(platform, principal).await?;
    let (now, by) = (change.now, principal.actor.user());
    let name = new.name.trim();
    require_free(&mut change.tx, name, None).await?;
    let role = NewRole { id: platform.id(), name, description: &new.description, is_system: false };
    match roles::insert(&mut change.tx, &role, &new.permissions, now, by).await {
        Err(StoreError::Taken(_)) => return Err(taken()),
        done => done?,
    }
    change.note(Change {
        what: "role.created",
        resource_type: "role",
        id: role.id.to_string(),
        changes: json!({
            "name": { "before": null, "after": name },
            "permissions": { "before": null, "after": new.permissions },
        }),
        data: Some(json!({ "id": role.id, "name": name })),
    });
    let permissions = roles::permissions_of(&mut change.tx, role.id).await?;
    let role =
        roles::by_id(&mut change.tx, role.id).await?.ok_or_else(|| ServiceError::internal("the role is gone"))?;
    change.finish(RoleView { role, permissions }).await
}

/// The role, held, unless it is one of the platform's.
async fn editable(change: &mut Mutation<'_>, id: RoleId) -> Result<Role> {
    let role = roles::hold(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if role.is_system {
        return Err(ServiceError::Conflict(
            "system_role",
            "the platform keeps this role; make one of your own".to_owned(),
        ));
    }
    Ok(role)
}

/// Change a role's name or description.
pub async fn change(
    platform: &Platform,
    principal: &Principal,
    id: RoleId,
    wanted: ChangeRole,
    expected: Option<Timestamp>,
) -> Result<RoleView> {
    let wrong = violations(wanted.name.as_deref(), wanted.description.as_deref());
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let mut change = Mutation::begin(platform, principal).await?;
    let before = editable(&mut change, id).await?;
    expect(before.updated_at, expected)?;
    let mut after = before.clone();
    after.name = wanted.name.map_or(after.name, |name| name.trim().to_owned());
    after.description = wanted.description.unwrap_or(after.description);
    // Nobody renames what they could not give.
    let permits: Vec<_> = roles::permissions_of(&mut change.tx, id).await?.iter().map(|p| p.permission()).collect();
    access::require_all(principal, &permits)?;
    if after.name != before.name {
        require_free(&mut change.tx, &after.name, Some(id)).await?;
    }
    let shown = |role: &Role| json!({ "name": role.name, "description": role.description });
    let changes = difference(&shown(&before), &shown(&after));
    if changes.as_object().is_some_and(|changes| !changes.is_empty()) {
        after.updated_at = change.after(before.updated_at);
        match roles::update(&mut change.tx, &after, before.updated_at, principal.actor.user()).await {
            Err(StoreError::Taken(_)) => return Err(taken()),
            Ok(false) => return Err(conflict()),
            done => done?,
        };
        let data = Some(json!({ "id": id, "name": after.name }));
        change.note(Change { what: "role.updated", resource_type: "role", id: id.to_string(), changes, data });
    }
    let permissions = roles::permissions_of(&mut change.tx, id).await?;
    change.finish(RoleView { role: after, permissions }).await
}

/// Delete a role; its users lose it.
pub async fn delete(platform: &Platform, principal: &Principal, id: RoleId, expected: Option<Timestamp>) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = editable(&mut change, id).await?;
    expect(before.updated_at, expected)?;
    // Nobody takes away what they could not give.
    let permits: Vec<_> = roles::permissions_of(&mut change.tx, id).await?.iter().map(|p| p.permission()).collect();
    access::require_all(principal, &permits)?;
    roles::delete(&mut change.tx, id).await?;
    change.note(Change {
        what: "role.deleted",
        resource_type: "role",
        id: id.to_string(),
        changes: json!({ "name": { "before": before.name, "after": null } }),
        data: Some(json!({ "id": id, "name": before.name })),
    });
    change.finish(()).await
}

/// What a role permits.
pub async fn permissions_of(
    platform: &Platform,
    principal: &Principal,
    id: RoleId,
) -> Result<Vec<CataloguePermission>> {
    Ok(get(platform, principal, id).await?.permissions)
}

/// Add a permission to a role.
pub async fn permit(
    platform: &Platform,
    principal: &Principal,
    id: RoleId,
    wanted: &PermissionRef,
) -> Result<CataloguePermission> {
    let mut catalogue = platform.db.platform_read().await?;
    let (pointer, found) = match (wanted.permission_id, &wanted.permission) {
        (Some(id), None) => ("/permission_id", permissions::by_id(&mut catalogue, id).await?),
        (None, Some(name)) => ("/permission", permissions::by_name(&mut catalogue, name).await?),
        _ => return Err(ServiceError::invalid("", "shape", "give either `permission_id` or `permission`")),
    };
    drop(catalogue);
    let unknown = || ServiceError::invalid(pointer, "unknown", "it is not in the catalogue of permissions");
    let permission = found.ok_or_else(unknown)?;
    access::require(principal, &permission.permission())?;
    let mut change = Mutation::begin(platform, principal).await?;
    let role = editable(&mut change, id).await?;
    let (now, by) = (change.now, principal.actor.user());
    if roles::permissions_of(&mut change.tx, id).await?.len() >= PERMISSIONS_MAX {
        return Err(ServiceError::invalid("", "size", format!("a role has at most {PERMISSIONS_MAX} permissions")));
    }
    if roles::permit(&mut change.tx, id, permission.id, now, by).await? {
        edited(&mut change, principal, role, None, Some(&permission)).await?;
    }
    change.finish(permission).await
}

/// Take a permission from a role.
pub async fn forbid(platform: &Platform, principal: &Principal, id: RoleId, permission: Uuid) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let role = editable(&mut change, id).await?;
    let held = roles::permissions_of(&mut change.tx, id).await?.into_iter().find(|p| p.id == permission);
    let held = held.ok_or(ServiceError::NotFound)?;
    access::require(principal, &held.permission())?;
    roles::forbid(&mut change.tx, id, permission).await?;
    edited(&mut change, principal, role, Some(&held), None).await?;
    change.finish(()).await
}

async fn edited(
    change: &mut Mutation<'_>,
    principal: &Principal,
    role: Role,
    before: Option<&CataloguePermission>,
    after: Option<&CataloguePermission>,
) -> Result<()> {
    let touched = Role { updated_at: change.after(role.updated_at), ..role.clone() };
    if !roles::update(&mut change.tx, &touched, role.updated_at, principal.actor.user()).await? {
        return Err(conflict());
    }
    let name = |p: Option<&CataloguePermission>| p.map(|p| p.permission().to_string());
    change.note(Change {
        what: "role.updated",
        resource_type: "role",
        id: role.id.to_string(),
        changes: json!({ "permission": { "before": name(before), "after": name(after) } }),
        data: Some(json!({ "id": role.id, "name": role.name })),
    });
    Ok(())
}
