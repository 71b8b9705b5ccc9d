//! Registering a tenant and signing in.

use email_address::EmailAddress;
use purlin_domain::{
    access::Permission,
    audit::Origin,
    error::Violation,
    id::{RoleId, TenantId, UserId},
    name::{is_slug, slugify},
    plan,
    principal::{Actor, Principal},
    tenant::TenantStatus,
};
use purlin_store::{StoreError, TenantTx, roles, tenants, tenants::Tenant, users, users::User};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    change::{self, Change},
    password,
    tokens::{self, AccessToken, Subject},
};

/// A new tenant and its first administrator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The tenant.
    pub tenant: NewTenant,
    /// The administrator's address.
    pub email: String,
    /// The administrator's password.
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
}

/// A new tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name for people.
    pub name: String,
    /// Its name in sign-in; made from the name when missing.
    pub slug: Option<String>,
}

/// Credentials.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The tenant's slug. When missing, the tenant in which the address has been known longest.
    pub tenant: Option<String>,
}

/// Who signed in, and with what.
#[derive(Debug, Serialize)]
pub struct SignedIn {
    /// The tenant.
    pub tenant: Tenant,
    /// The user.
    pub user: User,
    /// The token.
    #[serde(flatten)]
    pub token: AccessToken,
}

/// Tries at a free slug when the caller did not choose one.
const SLUG_TRIES: u32 = 5;

/// Register a tenant with its first administrator.
pub async fn register(platform: &Platform, registration: Registration, origin: &Origin) -> Result<SignedIn> {
    if !platform.settings.registration_open {
        return Err(ServiceError::Closed("registration_closed", "registration is closed on this host"));
    }
    let slug = check(&registration)?;
    let chosen = registration.tenant.slug.is_some();
    let hash = platform.hasher.hash(registration.password).await?;
    let mut first = FirstAdmin {
        tenant_name: registration.tenant.name,
        slug,
        email: normalise(&registration.email),
        password_hash: hash,
        first_name: registration.first_name,
        last_name: registration.last_name,
        is_operator: false,
    };
    let base = first.slug.clone();
    for attempt in 1..=SLUG_TRIES {
        match provision(platform, &first, origin).await {
            Err(StoreOrService::Store(StoreError::Taken(_))) if !chosen && attempt < SLUG_TRIES => {
                let suffix: String = platform.clock.id().simple().to_string().chars().rev().take(4).collect();
                let stem: String = base.chars().take(35).collect();
                first.slug = format!("{}-{suffix}", stem.trim_end_matches('-'));
            }
            Err(StoreOrService::Store(StoreError::Taken(_))) => {
                return Err(ServiceError::Conflict(
                    "slug_taken",
                    format!("the slug `{}` is taken; choose another", first.slug),
                ));
            }
            Err(StoreOrService::Store(error)) => return Err(error.into()),
            Err(StoreOrService::Service(error)) => return Err(error),
            Ok((tenant, user)) => {
                let subject = Subject { tenant: tenant.id, user: user.id };
                let token = tokens::issue(platform, subject, vec![ADMIN.to_owned()])?;
                platform.wake_workers();
                return Ok(SignedIn { tenant, user, token });
            }
        }
    }
    Err(ServiceError::internal("no free slug was found"))
}

/// Sign in. The answer is the same, and as slow, whether the address or the password is wrong.
pub async fn login(platform: &Platform, login: Login) -> Result<SignedIn> {
    let refused = || ServiceError::Unauthenticated("the address or the password is wrong");
    if login.password.len() > password::BYTES_MAX {
        return Err(refused());
    }
    let email = normalise(&login.email);
    let tenant = find_tenant(platform, &email, login.tenant.as_deref()).await?;
    let user = match tenant {
        Some(tenant) => users::by_email(&mut platform.db.read(tenant).await?, &email).await?,
        None => None,
    };
    let matches =
        platform.hasher.verify(login.password.clone(), user.as_ref().map(|u| u.password_hash.clone())).await?;
    let (Some(tenant), Some(user), true) = (tenant, user, matches) else { return Err(refused()) };
    let mut tx = platform.db.read(tenant).await?;
    let tenant = tenants::own(&mut tx).await?.ok_or_else(refused)?;
    if !user.is_active || tenant.status != TenantStatus::Active {
        return Err(refused());
    }
    let roles = roles::names_of_user(&mut tx, user.id).await?;
    drop(tx);
    if platform.hasher.is_outdated(&user.password_hash) {
        let hash = platform.hasher.hash(login.password).await?;
        let mut tx = platform.db.write(tenant.id).await?;
        users::set_password_hash(&mut tx, user.id, &hash, platform.now()).await?;
        tx.commit().await?;
    }
    let token = tokens::issue(platform, Subject { tenant: tenant.id, user: user.id }, roles)?;
    Ok(SignedIn { tenant, user, token })
}

async fn find_tenant(platform: &Platform, email: &str, slug: Option<&str>) -> Result<Option<TenantId>> {
    let mut tx = platform.db.platform_read().await?;
    if let Some(slug) = slug {
        return Ok(tenants::id_by_slug(&mut tx, slug).await?);
    }
    Ok(users::tenant_of_email(&mut tx, email).await?)
}

/// Addresses compare without regard to case.
pub(crate) fn normalise(email: &str) -> String {
    email.trim().to_lowercase()
}

fn check(registration: &Registration) -> Result<String> {
    let mut wrong = Vec::new();
    let name = registration.tenant.name.trim();
    if !(1..=100).contains(&name.chars().count()) {
        wrong.push(Violation::new("/tenant/name", "length", "give a name of 1 to 100 characters"));
    }
    let slug = match &registration.tenant.slug {
        Some(slug) if is_slug(slug) => slug.clone(),
        Some(_) => {
            wrong.push(Violation::new(
                "/tenant/slug",
                "format",
                "use 2 to 40 lower-case letters, digits and single hyphens, first a letter",
            ));
            String::new()
        }
        None => slugify(name).unwrap_or_else(|| "tenant".to_owned()),
    };
    wrong.extend(email_violation("/email", &registration.email));
    wrong.extend(password_violation("/password", &registration.password));
    wrong.extend(name_violation("/first_name", registration.first_name.as_deref()));
    wrong.extend(name_violation("/last_name", registration.last_name.as_deref()));
    if wrong.is_empty() { Ok(slug) } else { Err(ServiceError::Invalid(wrong)) }
}

pub(crate) fn email_violation(pointer: &str, email: &str) -> Option<Violation> {
    let valid = EmailAddress::is_valid(email.trim());
    (!valid).then(|| Violation::new(pointer, "format", "this is not an e-mail address"))
}

pub(crate) fn password_violation(pointer: &str, password: &str) -> Option<Violation> {
    let valid = password.chars().count() >= password::CHARACTERS_MIN && password.len() <= password::BYTES_MAX;
    (!valid).then(|| {
        Violation::new(
            pointer,
            "length",
            format!("use at least {} characters, at most {} bytes", password::CHARACTERS_MIN, password::BYTES_MAX),
        )
    })
}

pub(crate) fn name_violation(pointer: &str, name: Option<&str>) -> Option<Violation> {
    let valid = name.is_none_or(|n| n.chars().count() <= 100 && !n.chars().any(char::is_control));
    (!valid).then(|| Violation::new(pointer, "format", "use at most 100 characters, none of them control characters"))
}

pub(crate) const ADMIN: &str = "admin";

/// A tenant to be made, with the person who will run it.
pub(crate) struct FirstAdmin {
    pub(crate) tenant_name: String,
    pub(crate) slug: String,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) is_operator: bool,
}

/// Which of the two went wrong: a slug that is taken is worth another try.
pub(crate) enum StoreOrService {
    Store(StoreError),
    Service(ServiceError),
}

impl From<StoreError> for StoreOrService {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ServiceError> for StoreOrService {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// Make a tenant, its system roles and its first administrator, in one transaction with
/// their audit rows and events.
pub(crate) async fn provision(
    platform: &Platform,
    first: &FirstAdmin,
    origin: &Origin,
) -> std::result::Result<(Tenant, User), StoreOrService> {
    let now = platform.now();
    let tenant = Tenant {
        id: platform.id(),
        name: first.tenant_name.trim().to_owned(),
        slug: first.slug.clone(),
        domain: None,
        status: TenantStatus::Active,
        plan: plan::DEFAULT.to_owned(),
        settings: json!({}),
        created_at: now,
        updated_at: now,
    };
    let user = User {
        id: platform.id(),
        email: first.email.clone(),
        password_hash: first.password_hash.clone(),
        first_name: first.first_name.clone(),
        last_name: first.last_name.clone(),
        is_active: true,
        is_verified: false,
        is_operator: first.is_operator,
        created_at: now,
        updated_at: now,
    };
    let mut tx = platform.db.write(tenant.id).await?;
    tenants::insert(&mut tx, &tenant).await?;
    let admin = system_roles(platform, &mut tx, user.id).await?;
    users::insert(&mut tx, &user, Some(user.id)).await?;
    roles::assign(&mut tx, user.id, admin, now, Some(user.id)).await?;

    let principal = Principal {
        tenant: tenant.id,
        actor: Actor::User(user.id),
        on_behalf_of: Some(user.id),
        authority: purlin_domain::access::Authority { user: None, grants: None, plan: Default::default() },
        operator: false,
        origin: origin.clone(),
    };
    let made = |name: &str, value: &str| json!({ name: { "before": null, "after": value } });
    let changes = vec![
        Change {
            what: "tenant.created",
            resource_type: "tenant",
            id: tenant.id.to_string(),
            changes: made("name", &tenant.name),
            data: json!({ "id": tenant.id, "name": tenant.name, "slug": tenant.slug, "plan": tenant.plan }),
        },
        Change {
            what: "user.created",
            resource_type: "user",
            id: user.id.to_string(),
            changes: made("email", &user.email),
            data: json!({ "id": user.id, "email": user.email }),
        },
    ];
    change::tell(platform, &mut tx, &principal, changes, now).await?;
    tx.commit().await?;
    Ok((tenant, user))
}

/// The roles that every tenant has. The administrator's id is returned.
async fn system_roles(platform: &Platform, tx: &mut TenantTx, by: UserId) -> std::result::Result<RoleId, StoreError> {
    let roles: [(&str, &str, &[Permission]); 3] = [
        (ADMIN, "May do everything in the tenant", &[Permission::new("*", "*")]),
        (
            "member",
            "May see everything in the tenant and enqueue jobs",
            &[Permission::new("*", "read"), Permission::new("jobs", "create")],
        ),
        ("viewer", "May see everything in the tenant", &[Permission::new("*", "read")]),
    ];
    let mut admin = None;
    for (name, description, permissions) in roles {
        let role = roles::NewRole { id: platform.id(), name, description, is_system: true };
        roles::insert(tx, &role, permissions, platform.now(), Some(by)).await?;
        admin = admin.or(Some(role.id));
    }
    admin.ok_or_else(|| StoreError::Setup("there are no system roles".to_owned()))
}
