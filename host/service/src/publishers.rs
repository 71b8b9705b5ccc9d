//! Who may publish a plugin: where an operator registered a key, every upload has to be signed
//! by it.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use purlin_domain::{audit::AuditEntry, name::is_slug, principal::Principal};
use purlin_store::publishers::{self, Publisher};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{Platform, Result, ServiceError, access, audit};

/// Bytes of an Ed25519 public key, RFC 8032.
const KEY_BYTES: usize = 32;
/// What stands before them in a SubjectPublicKeyInfo, RFC 8410.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key of a publisher.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublisherKey {
    /// An Ed25519 public key: as PEM, as `openssl pkey -pubout` writes it, or its 32 bytes in base64.
    pub public_key: String,
}

impl PublisherKey {
    fn bytes(&self) -> Option<Vec<u8>> {
        let body: String = self.public_key.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let bytes = STANDARD.decode(body).ok()?;
        let key = bytes.strip_prefix(&SPKI).unwrap_or(&bytes);
        (key.len() == KEY_BYTES).then(|| key.to_vec())
    }
}

/// Who publishes a plugin.
pub async fn get(platform: &Platform, plugin: &str) -> Result<Publisher> {
    let mut tx = platform.db.platform_read().await?;
    publishers::of_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)
}

/// Register who publishes a plugin: what is uploaded from now on has to be signed by them.
pub async fn set(platform: &Platform, principal: &Principal, plugin: &str, key: &PublisherKey) -> Result<Publisher> {
    access::require_operator(principal)?;
    if !is_slug(plugin) {
        return Err(ServiceError::NotFound);
    }
    let bytes = key.bytes().ok_or_else(|| {
        ServiceError::invalid("/public_key", "key", "an Ed25519 public key is needed: PEM, or 32 bytes in base64")
    })?;
    let (public_key, now) = (STANDARD.encode(bytes), platform.now());
    let publisher = Publisher { plugin: plugin.to_owned(), public_key, updated_at: now };
    let mut tx = platform.db.platform().await?;
    let before = publishers::of_plugin(&mut tx, plugin).await?.map(|publisher| publisher.public_key);
    publishers::set(&mut tx, &publisher, principal.actor.user().map(|user| user.0)).await?;
    let entry = entry("plugin.publisher_set", plugin, before.as_deref(), Some(&publisher.public_key));
    audit::append_platform(platform, &mut tx, principal, entry, now).await?;
    tx.commit().await?;
    Ok(publisher)
}

/// Forget who publishes a plugin: any operator uploads it again.
pub async fn delete(platform: &Platform, principal: &Principal, plugin: &str) -> Result<()> {
    access::require_operator(principal)?;
    let mut tx = platform.db.platform().await?;
    let before = publishers::of_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    publishers::delete(&mut tx, plugin).await?;
    let entry = entry("plugin.publisher_removed", plugin, Some(&before.public_key), None);
    audit::append_platform(platform, &mut tx, principal, entry, platform.now()).await?;
    Ok(tx.commit().await?)
}

fn entry(action: &str, plugin: &str, before: Option<&str>, after: Option<&str>) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        resource_type: "plugin".to_owned(),
        resource_id: Some(plugin.to_owned()),
        changes: json!({ "public_key": { "before": before, "after": after } }),
    }
}

/// Refuse a component of a plugin whose publisher did not sign it; the key that did.
pub(crate) async fn check(
    platform: &Platform,
    plugin: &str,
    component: &[u8],
    signature: Option<&str>,
) -> Result<Option<String>> {
    let mut tx = platform.db.platform_read().await?;
    let Some(publisher) = publishers::of_plugin(&mut tx, plugin).await? else { return Ok(None) };
    drop(tx);
    let refused = |why: &str| Err(ServiceError::invalid("", "signature", why));
    let Some(signature) = signature else {
        return refused(
            "the plugin has a publisher; send the signature of the component, in base64, as `Plugin-Signature`",
        );
    };
    let key = STANDARD.decode(&publisher.public_key).map_err(ServiceError::internal)?;
    let signed = STANDARD.decode(signature.trim()).unwrap_or_default();
    match UnparsedPublicKey::new(&ED25519, key).verify(component, &signed) {
        Ok(()) => Ok(Some(publisher.public_key)),
        Err(_) => refused("the signature is not one of the plugin's publisher over these bytes"),
    }
}
