//! Registering a tenant with its first administrator.

use purlin_domain::{
    audit::Origin,
    error::Violation,
    name::{is_slug, slugify},
    plan::{self, ADMIN},
    tenant::TenantStatus,
};
use purlin_store::{StoreError, roles, tenants, tenants::Tenant, users, users::User};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    SignedIn, email_violation, limit_address, name_violation, normalise, open, password_violation, person,
    title_violation,
};
use crate::{
    Platform, Result, ServiceError, audit,
    change::{Change, Mutation},
    native,
    password::Hashing,
};

/// A new tenant and its first administrator.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The tenant.
    pub tenant: NewTenant,
    /// The administrator's address.
    pub email: String,
    /// The administrator's password, at least 12 characters.
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
}

/// A new tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name for people.
    pub name: String,
    /// Its name in sign-in; made from the name when missing.
    pub slug: Option<String>,
}

/// Tries at a free slug when the caller did not choose one.
const SLUG_TRIES: u32 = 5;

/// Register a tenant with its first administrator, who is signed in.
pub async fn register(platform: &Platform, registration: Registration, origin: &Origin) -> Result<SignedIn> {
    if !platform.settings.registration_open {
        return Err(ServiceError::Closed("registration_closed", "registration is closed on this host"));
    }
    limit_address(platform, origin).await?;
    let slug = check(&registration)?;
    native::limit_mails_to(platform, &normalise(&registration.email)).await?;
    let chosen = registration.tenant.slug.is_some();
    let hash = platform.hasher.hash(&Hashing::SigningIn(origin.ip), &registration.password).await?;
    let mut first = FirstAdmin {
        tenant_name: registration.tenant.name,
        slug,
        email: normalise(&registration.email),
        password_hash: hash,
        first_name: registration.first_name,
        last_name: registration.last_name,
        is_operator: false,
        is_verified: false,
    };
    let base = first.slug.clone();
    for attempt in 1..=SLUG_TRIES {
        match provision(platform, &first, origin).await {
            Ok(Some((tenant, user))) => {
                let tokens = open(platform, &user, tenant.id, origin).await?;
                return Ok(SignedIn { tenant, user, tokens });
            }
            Ok(None) if !chosen && attempt < SLUG_TRIES => {
                let suffix: String = platform.clock.id().simple().to_string().chars().rev().take(4).collect();
                let stem: String = base.chars().take(35).collect();
                first.slug = format!("{}-{suffix}", stem.trim_end_matches('-'));
            }
            Ok(None) => {
                let why = format!("the slug `{}` is taken; choose another", first.slug);
                return Err(ServiceError::Conflict("slug_taken", why));
            }
            Err(error) => return Err(error),
        }
    }
    Err(ServiceError::internal("no free slug was found"))
}

fn check(registration: &Registration) -> Result<String> {
    let mut wrong = Vec::new();
    let name = registration.tenant.name.trim();
    wrong.extend(title_violation("/tenant/name", name));
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

/// A tenant to be made, with the person who will run it.
pub(crate) struct FirstAdmin {
    pub(crate) tenant_name: String,
    pub(crate) slug: String,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) is_operator: bool,
    pub(crate) is_verified: bool,
}

/// Make a tenant and its first administrator, in one transaction with everything that the
/// native handlers of their events do: roles, settings, the welcome mail. None when the
/// slug is taken.
pub(crate) async fn provision(
    platform: &Platform,
    first: &FirstAdmin,
    origin: &Origin,
) -> Result<Option<(Tenant, User)>> {
    let now = platform.now();
    let tenant = Tenant {
        id: platform.id(),
        name: first.tenant_name.trim().to_owned(),
        slug: first.slug.clone(),
        domain: None,
        domain_approved_at: None,
        status: TenantStatus::Active,
        plan: plan::DEFAULT.to_owned(),
        settings: json!({}),
        provisioned_at: None,
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
        is_verified: first.is_verified,
        is_operator: first.is_operator,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    };
    let principal = person(tenant.id, user.id, origin);
    let mut change = Mutation::begin(platform, &principal).await?;
    match tenants::insert(&mut change.tx, &tenant).await {
        Err(StoreError::Taken(_)) => return Ok(None),
        done => done?,
    }
    audit::vouch_for_plan(platform, &mut change.tx, &tenant.plan).await?;
    let made = |name: &str, value: &str| json!({ name: { "before": null, "after": value } });
    change.note(Change {
        what: "tenant.created",
        resource_type: "tenant",
        id: tenant.id.to_string(),
        changes: made("name", &tenant.name),
        data: Some(json!({ "id": tenant.id, "name": tenant.name, "slug": tenant.slug, "plan": tenant.plan })),
    });
    let tenant = native::provision_tenant_defaults(platform, &mut change, tenant).await?;
    users::insert(&mut change.tx, &user, Some(user.id)).await?;
    let admin = roles::id_by_name(&mut change.tx, ADMIN).await?;
    let admin = admin.ok_or_else(|| ServiceError::internal("there are no system roles"))?;
    roles::assign(&mut change.tx, user.id, admin, now, Some(user.id)).await?;
    change.note(Change {
        what: "user.created",
        resource_type: "user",
        id: user.id.to_string(),
        changes: made("email", &user.email),
        data: Some(json!({ "id": user.id, "email": user.email })),
    });
    if !first.is_operator {
        change.enqueue(native::mail_job(platform, native::WELCOME, user.id.0, now));
    }
    change.finish(()).await?;
    Ok(Some((tenant, user)))
}
