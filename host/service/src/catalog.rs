//! What the platform knows by heart: its own permissions, and the plugin versions in use.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use percent_encoding::percent_decode_str;
use purlin_domain::{
    Json,
    access::{CORE_PERMISSIONS, Permission, PermissionSet},
    descriptor::{Descriptor, FILES, PersonalData, Reference, Route},
    error::Violation,
    id::{TenantId, VersionId},
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    permissions::{self, NewPermission},
    plugins::{self, Version},
};

use crate::{
    Platform, Result, ServiceError,
    schema::{self, Schema},
};

/// Put the platform's permissions into the catalogue.
pub(crate) async fn seed(platform: &Platform) -> Result<()> {
    let mut tx = platform.db.platform().await?;
    for (resource, action, description) in CORE_PERMISSIONS {
        let new = NewPermission {
            id: platform.id(),
            permission: Permission::new(*resource, *action),
            description: (*description).to_owned(),
            plugin: None,
        };
        permissions::ensure(&mut tx, &new, platform.now()).await?;
    }
    Ok(tx.commit().await?)
}

/// A plugin version, its descriptor read and its schemas compiled. Never changes.
pub struct Loaded {
    /// The version's id.
    pub version: VersionId,
    /// BLAKE3 of its component, in hex.
    pub digest: String,
    /// What it says of itself.
    pub descriptor: Descriptor,
    collections: HashMap<String, Schema>,
    payloads: HashMap<String, Schema>,
    settings: Option<Schema>,
    /// Of each method, the places of its routes in the descriptor.
    routes: HashMap<String, matchit::Router<usize>>,
}

impl Loaded {
    /// Read a descriptor and compile its schemas; what is wrong with it otherwise.
    pub(crate) fn build(
        version: VersionId,
        digest: String,
        descriptor: Descriptor,
    ) -> std::result::Result<Self, Vec<Violation>> {
        let mut wrong = descriptor.violations();
        match schema::in_place(|| Self::compile(version, digest, descriptor, true)) {
            Ok(loaded) if wrong.is_empty() => Ok(loaded),
            Ok(_) => Err(wrong),
            Err(found) => {
                wrong.extend(found);
                Err(wrong)
            }
        }
    }

    /// Compile what a descriptor declares. A version that is stored was good by the rules of its time.
    fn compile(
        version: VersionId,
        digest: String,
        descriptor: Descriptor,
        is_new: bool,
    ) -> std::result::Result<Self, Vec<Violation>> {
        let mut wrong = Vec::new();
        let (mut subschemas, mut patterns) = (0, 0);
        let mut compile = |pointer: String, schema: &Json| {
            let below = |v: Violation| Violation { pointer: format!("{pointer}{}", v.pointer), ..v };
            if subschemas > SUBSCHEMAS_MAX || patterns > PATTERNS_MAX {
                return None;
            }
            let compiled = Schema::compile(schema).map_err(|found| wrong.extend(found.into_iter().map(below))).ok()?;
            if !is_new {
                return Some(compiled);
            }
            wrong.extend(compiled.unknown_format().map(below));
            let size = compiled.size();
            (subschemas, patterns) = (subschemas + size.0, patterns + size.1);
            if subschemas > SUBSCHEMAS_MAX || patterns > PATTERNS_MAX {
                let why = format!(
                    "the schemas of a plugin have at most {SUBSCHEMAS_MAX} subschemas and {PATTERNS_MAX} patterns in all"
                );
                wrong.push(Violation::new(pointer, "schema_cost", why));
            }
            Some(compiled)
        };
        let mut collections = HashMap::new();
        for (i, collection) in descriptor.collections.iter().enumerate() {
            let validator = compile(format!("/collections/{i}/schema"), &collection.schema);
            collections.extend(validator.map(|v| (collection.name.clone(), v)));
        }
        let mut payloads = HashMap::new();
        for (i, event) in descriptor.events.iter().enumerate() {
            let validator = event.schema.as_ref().and_then(|s| compile(format!("/events/{i}/schema"), s));
            payloads.extend(validator.map(|v| (event.event_type.clone(), v)));
        }
        for (i, job) in descriptor.jobs.iter().enumerate() {
            let validator = job.schema.as_ref().and_then(|s| compile(format!("/jobs/{i}/schema"), s));
            payloads.extend(validator.map(|v| (job.kind.clone(), v)));
        }
        let settings = descriptor.settings.as_ref().and_then(|schema| compile("/settings".to_owned(), schema));
        if let Some(schema) = settings.as_ref().filter(|_| is_new) {
            // What is missing, a tenant sets.
            let found = schema.violations(&descriptor.with_defaults(&Json::Object(serde_json::Map::new())));
            let found = found.into_iter().filter(|v| v.code != "required");
            wrong.extend(
                found.map(|v| Violation { pointer: format!("/settings/properties{}/default", v.pointer), ..v }),
            );
        }
        let mut routes: HashMap<String, matchit::Router<usize>> = HashMap::new();
        for (i, route) in descriptor.routes.iter().enumerate() {
            let of_method = routes.entry(route.method.clone()).or_default();
            let added = of_method.insert(route.path.clone(), i);
            wrong.extend(added.err().map(|why| Violation::new(format!("/routes/{i}/path"), "route", why.to_string())));
        }
        if wrong.is_empty() {
            Ok(Self { version, digest, descriptor, collections, payloads, settings, routes })
        } else {
            Err(wrong)
        }
    }

    /// The same of a stored version, which was sound when it was uploaded.
    pub(crate) fn read(version: Version) -> Result<Self> {
        let descriptor = serde_json::from_value(version.descriptor).map_err(ServiceError::internal)?;
        schema::in_place(|| Self::compile(version.id, version.digest, descriptor, false))
            .map_err(|wrong| ServiceError::Internal(purlin_domain::error::summary(&wrong)))
    }

    /// The route that a request is for, with the values of its parameters.
    pub(crate) fn route(&self, method: &str, path: &str) -> Option<(&Route, Vec<(String, String)>)> {
        let found = self.routes.get(method)?.at(path).ok()?;
        let decoded = |value: &str| percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned);
        let params = found.params.iter().map(|(name, value)| Some((name.to_owned(), decoded(value)?)));
        Some((self.descriptor.routes.get(*found.value)?, params.collect::<Option<_>>()?))
    }

    /// What is wrong with a record of this collection.
    pub(crate) async fn record_violations(
        &self,
        platform: &Platform,
        tenant: TenantId,
        collection: &str,
        data: &Json,
    ) -> Result<Vec<Violation>> {
        validate(platform, tenant, self.collections.get(collection), data).await
    }

    /// Write the data of a record of this collection in the one way in which it is stored.
    pub(crate) fn settle(&self, collection: &str, data: &mut Json) {
        if let Some(collection) = self.descriptor.collection(collection) {
            collection.settle(data);
        }
    }

    /// What the records of a collection refer to.
    pub(crate) fn references(&self, collection: &str) -> impl Iterator<Item = &Reference> {
        self.descriptor.collection(collection).into_iter().flat_map(|collection| &collection.references)
    }

    /// What is personal in the records of a collection.
    pub(crate) fn personal_data(&self, collection: &str) -> Option<&PersonalData> {
        self.descriptor.collection(collection)?.personal_data.as_ref()
    }

    /// What is wrong with these settings, once the defaults are filled in.
    pub(crate) async fn settings_violations(
        &self,
        platform: &Platform,
        tenant: TenantId,
        settings: &Json,
    ) -> Result<Vec<Violation>> {
        if self.settings.is_none() && settings.as_object().is_none_or(|settings| !settings.is_empty()) {
            return Ok(vec![Violation::new("", "undeclared", "the plugin has no settings")]);
        }
        validate(platform, tenant, self.settings.as_ref(), &self.descriptor.with_defaults(settings)).await
    }

    /// Whether it can run with these settings. For use within a transaction: it waits for no turn.
    pub(crate) fn takes_settings(&self, settings: &Json) -> bool {
        match &self.settings {
            Some(schema) => schema.violations(&self.descriptor.with_defaults(settings)).is_empty(),
            None => settings.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }

    /// What is wrong with the data of this event type, or the payload of this job kind.
    pub(crate) async fn payload_violations(
        &self,
        platform: &Platform,
        tenant: TenantId,
        name: &str,
        data: &Json,
    ) -> Result<Vec<Violation>> {
        validate(platform, tenant, self.payloads.get(name), data).await
    }
}

/// What is wrong with a document of a tenant; nothing where there is no schema.
async fn validate(
    platform: &Platform,
    tenant: TenantId,
    schema: Option<&Schema>,
    document: &Json,
) -> Result<Vec<Violation>> {
    let Some(schema) = schema else { return Ok(Vec::new()) };
    schema
        .violations_in_turn(&platform.validating, tenant, document)
        .await
        .map_err(|error| ServiceError::Unavailable(format!("validations of large documents of this tenant: {error}")))
}

/// Subschemas and patterns of all schemas of a plugin at most.
const SUBSCHEMAS_MAX: usize = 20_000;
const PATTERNS_MAX: usize = 200;

/// Versions kept in memory at most; beyond it they are read again.
const VERSIONS_MAX: usize = 1_000;

/// The plugin versions in use.
#[derive(Default)]
pub(crate) struct Catalog {
    versions: Mutex<HashMap<VersionId, Arc<Loaded>>>,
}

impl Catalog {
    /// The version an installation runs.
    pub(crate) async fn load(&self, tx: &mut TenantTx, installation: &Installation) -> Result<Arc<Loaded>> {
        let id = installation.version_id;
        let cached = self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(loaded) = cached {
            return Ok(loaded);
        }
        let version = plugins::version_by_id(tx, id).await?.ok_or(ServiceError::NotFound)?;
        let loaded = Arc::new(Loaded::read(version)?);
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.len() >= VERSIONS_MAX {
            versions.clear();
        }
        versions.insert(id, Arc::clone(&loaded));
        Ok(loaded)
    }
}

/// A plugin as a tenant runs it.
#[derive(Clone)]
pub struct Enabled {
    /// The installation.
    pub installation: Arc<Installation>,
    /// The version it runs.
    pub loaded: Arc<Loaded>,
}

impl Enabled {
    /// What the tenant granted. Grants that cannot be read grant nothing.
    pub fn grants(&self) -> PermissionSet {
        serde_json::from_value(self.installation.grants.clone()).unwrap_or_default()
    }
}

/// The tenant's enabled plugins.
pub(crate) async fn enabled(platform: &Platform, tx: &mut TenantTx) -> Result<Vec<Enabled>> {
    Ok(listening(platform, tx).await?.into_iter().filter(|plugin| plugin.installation.state == "enabled").collect())
}

/// Those that are told of events: also where the host paused them, so that none is lost.
pub(crate) async fn listening(platform: &Platform, tx: &mut TenantTx) -> Result<Vec<Enabled>> {
    let mut all = Vec::new();
    for installation in installations::list(tx).await? {
        if installation.state != "disabled" {
            let loaded = platform.catalog.load(tx, &installation).await?;
            all.push(Enabled { installation: Arc::new(installation), loaded });
        }
    }
    Ok(all)
}

/// The tenant's plugin of this name, if it is enabled.
pub(crate) async fn enabled_plugin(platform: &Platform, tx: &mut TenantTx, plugin: &str) -> Result<Option<Enabled>> {
    match installations::by_plugin(tx, plugin).await? {
        Some(installation) if installation.state == "enabled" => {
            let loaded = platform.catalog.load(tx, &installation).await?;
            Ok(Some(Enabled { installation: Arc::new(installation), loaded }))
        }
        _ => Ok(None),
    }
}

/// The tenant's plugin of this name, for whoever asks something of it; why it does not serve
/// otherwise.
pub(crate) async fn served_plugin(platform: &Platform, tx: &mut TenantTx, plugin: &str) -> Result<Enabled> {
    match enabled_plugin(platform, tx, plugin).await? {
        Some(enabled) => Ok(enabled),
        None => Err(unserved(tx, plugin).await?),
    }
}

/// Why a plugin does not serve: the host paused it, or the tenant does not have it.
pub(crate) async fn unserved(tx: &mut TenantTx, plugin: &str) -> Result<ServiceError> {
    let installation = installations::by_plugin(tx, plugin).await?;
    let is_paused = installation.is_some_and(|installation| installation.state == "paused");
    Ok(if is_paused { ServiceError::Paused } else { ServiceError::NotFound })
}

/// Put what a plugin brings into the catalogue of permissions.
pub(crate) fn permissions_of(platform: &Platform, descriptor: &Descriptor) -> Vec<NewPermission> {
    let actions = ["*", "create", "read", "update", "delete"];
    let of_collection = |name: &str| {
        let resource = format!("{}.{name}", descriptor.name);
        actions.map(|action| NewPermission {
            id: platform.id(),
            permission: Permission::new(&resource, action),
            description: match action {
                "*" => format!("Do anything with {resource}"),
                action => format!(
                    "{}{} {resource}",
                    action.get(..1).unwrap_or_default().to_uppercase(),
                    action.get(1..).unwrap_or_default()
                ),
            },
            plugin: Some(descriptor.name.clone()),
        })
    };
    let defined = descriptor.permissions.iter().map(|own| NewPermission {
        id: platform.id(),
        permission: own.permission.clone(),
        description: own.description.clone(),
        plugin: Some(descriptor.name.clone()),
    });
    let files = descriptor.files.then(|| NewPermission {
        id: platform.id(),
        permission: Permission::new(format!("{}.{FILES}", descriptor.name), "read"),
        description: format!("Read the files of {}", descriptor.name),
        plugin: Some(descriptor.name.clone()),
    });
    descriptor.collections.iter().flat_map(|c| of_collection(&c.name)).chain(defined).chain(files).collect()
}
