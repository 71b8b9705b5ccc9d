//! The keys that sign access tokens: made, rotated and retired without a request that
//! fails, on every host that shares the database.
//!
//! A new key is published first and signs a little later, when every host knows it. What
//! older keys signed is accepted until they are retired.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use purlin_domain::{Json, Timestamp, clock::Clock};
use purlin_store::{
    Db,
    signing_keys::{self, SigningKey},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    secrets::{self, Secrets, Use},
};

/// Between two looks at the keys in the database.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3);
/// From making a key to signing with it: longer than any host takes to know it.
pub const SIGNS_AFTER: Duration = Duration::from_secs(10);

/// A key, ready to verify, and to sign while it has its private half.
struct Key {
    row: SigningKey,
    decoding: DecodingKey,
    encoding: Option<EncodingKey>,
}

/// The keys of the host, as last read from the database.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: RwLock<Arc<Vec<Key>>>,
}

impl Keyring {
    fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs at this moment.
    pub(crate) fn signing(&self, now: Timestamp) -> Result<(String, EncodingKey)> {
        let keys = self.keys();
        let key = that_signs(&keys, |key| &key.row, now);
        key.and_then(|key| Some((key.row.id.clone(), key.encoding.clone()?)))
            .ok_or_else(|| ServiceError::internal("there is no key that signs"))
    }

    /// What verifies tokens of this key, unless it was retired.
    pub(crate) fn verifying(&self, id: &str) -> Option<DecodingKey> {
        let keys = self.keys();
        keys.iter().find(|key| key.row.id == id && key.row.retired_at.is_none()).map(|key| key.decoding.clone())
    }

    /// What verifies signatures of this key, retired or not: for what outlives tokens.
    pub(crate) fn verifying_ever(&self, id: &str) -> Option<DecodingKey> {
        self.keys().iter().find(|key| key.row.id == id).map(|key| key.decoding.clone())
    }

    /// The public keys, as a JWK Set (RFC 7517).
    pub(crate) fn jwks(&self) -> Json {
        let keys = self.keys();
        let public: Vec<&Json> =
            keys.iter().filter(|key| key.row.retired_at.is_none()).map(|key| &key.row.public_key).collect();
        json!({ "keys": public })
    }
}

/// Of the keys in their order, the newest whose time has come; the oldest when that of none has.
fn that_signs<T>(keys: &[T], row: impl Fn(&T) -> &SigningKey, now: Timestamp) -> Option<&T> {
    let mut usable = keys.iter().filter(|key| row(key).retired_at.is_none());
    usable.clone().find(|key| row(key).signs_from <= now).or_else(|| usable.next_back())
}

/// Read the keys from the database.
pub async fn refresh(platform: &Platform) -> Result<()> {
    let rows = signing_keys::all(&mut platform.db.platform_read().await?).await?;
    let ours = rows.into_iter().filter(|row| {
        let is_ours = is_ours(&platform.secrets, row);
        if !is_ours {
            tracing::error!(
                kid = row.id,
                "a signing key was not written by a host with this master key; it is ignored"
            );
        }
        is_ours
    });
    let keys = ours.map(|row| read(&platform.secrets, row)).collect::<Result<Vec<Key>>>()?;
    *platform.keys.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    Ok(())
}

/// Make the first key where there is none, then read them all.
pub(crate) async fn prepare(platform: &Platform) -> Result<()> {
    refresh(platform).await?;
    let now = platform.now();
    if platform.keys.signing(now).is_err() {
        insert(&platform.db, &platform.secrets, now, now).await?;
        refresh(platform).await?;
    }
    Ok(())
}

fn read(secrets: &Secrets, row: SigningKey) -> Result<Key> {
    let part = |name: &str| row.public_key.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    let decoding = DecodingKey::from_rsa_components(&part("n"), &part("e")).map_err(ServiceError::internal)?;
    let encoding = match &row.private_key {
        Some(sealed) => {
            let pem = secrets.open(&context(&row.id), sealed)?;
            Some(EncodingKey::from_rsa_pem(&pem).map_err(ServiceError::internal)?)
        }
        None => None,
    };
    Ok(Key { row, decoding, encoding })
}

/// What binds a public key to the master keys, the newest first.
fn macs(secrets: &Secrets, id: &str, public_key: &Json) -> Vec<String> {
    let part = |name: &str| public_key.get(name).and_then(Json::as_str).unwrap_or_default();
    let macs = secrets.macs(Use::SigningKey, &[id.as_bytes(), part("n").as_bytes(), part("e").as_bytes()]);
    macs.into_iter().map(|mac| blake3::Hash::from_bytes(mac).to_hex().to_string()).collect()
}

/// Whether a host with this master key wrote the row.
fn is_ours(secrets: &Secrets, row: &SigningKey) -> bool {
    macs(secrets, &row.id, &row.public_key).iter().any(|mac| secrets::same(row.mac.as_bytes(), mac.as_bytes()))
}

fn context(id: &str) -> String {
    format!("signing key {id}")
}

async fn insert(db: &Db, secrets: &Secrets, now: Timestamp, signs_from: Timestamp) -> Result<String> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(ServiceError::internal)?;
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(ServiceError::internal)?;
    let private = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
    let public = pair.public_key();
    let modulus = public.modulus().big_endian_without_leading_zero();
    let id: String = blake3::hash(modulus).to_hex().chars().take(16).collect();
    let public_key = json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
        "n": URL_SAFE_NO_PAD.encode(modulus),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
    });
    let private_key = Some(secrets.seal(&context(&id), private.as_bytes())?);
    let mac = macs(secrets, &id, &public_key).swap_remove(0);
    let row = SigningKey { id, public_key, mac, private_key, signs_from, retired_at: None, created_at: now };
    let mut tx = db.platform().await?;
    signing_keys::insert(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(row.id)
}

/// A key, for the person who runs the host.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// The `kid`.
    pub id: String,
    /// `signing`, `next` (published, signs soon), `verifying` (what it signed is accepted) or `retired`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
}

/// Every key, the newest first.
pub async fn list(db: &Db, clock: &dyn Clock) -> Result<Vec<KeyInfo>> {
    let now = clock.now();
    let rows = signing_keys::all(&mut db.platform_read().await?).await?;
    let signing = that_signs(&rows, |row| row, now).map(|row| row.id.clone());
    let state = |row: &SigningKey| match row {
        row if row.retired_at.is_some() => "retired",
        row if Some(&row.id) == signing.as_ref() => "signing",
        row if row.signs_from > now => "next",
        _ => "verifying",
    };
    let info = |row: &SigningKey| KeyInfo {
        id: row.id.clone(),
        state: state(row),
        created_at: row.created_at,
        signs_from: row.signs_from,
        retired_at: row.retired_at,
    };
    Ok(rows.iter().map(info).collect())
}

/// Make a key that signs from soon on; its `kid`.
pub async fn rotate(db: &Db, clock: &dyn Clock, secrets: &Secrets) -> Result<String> {
    let rows = signing_keys::all(&mut db.platform_read().await?).await?;
    if !rows.is_empty() && !rows.iter().any(|row| is_ours(secrets, row)) {
        return Err(ServiceError::internal("the keys there are belong to another master key; use that one"));
    }
    let now = clock.now();
    insert(db, secrets, now, now + SIGNS_AFTER).await
}

/// Seal and bind under the newest master key what is under one before it; how many keys.
pub(crate) async fn reseal(db: &Db, secrets: &Secrets) -> Result<u64> {
    let mut tx = db.platform().await?;
    let mut count = 0;
    for row in signing_keys::all(&mut tx).await?.into_iter().filter(|row| is_ours(secrets, row)) {
        let mac = macs(secrets, &row.id, &row.public_key).swap_remove(0);
        let sealed = match &row.private_key {
            Some(sealed) => secrets.reseal(&context(&row.id), sealed)?.or(row.private_key.clone()),
            None => None,
        };
        if mac != row.mac || sealed != row.private_key {
            signing_keys::bind(&mut tx, &row.id, sealed, &mac).await?;
            count += 1;
        }
    }
    tx.commit().await?;
    Ok(count)
}

/// Refuse from now on what a key signed, and forget its private half. Refused itself for
/// the key that signs.
pub async fn retire(db: &Db, clock: &dyn Clock, id: &str) -> Result<()> {
    let keys = list(db, clock).await?;
    let key = keys.iter().find(|key| key.id == id).ok_or(ServiceError::NotFound)?;
    if key.state == "signing" {
        return Err(ServiceError::Conflict(
            "key_signs",
            "this key signs; rotate first, and retire it when the tokens it signed have ended".to_owned(),
        ));
    }
    let mut tx = db.platform().await?;
    signing_keys::retire(&mut tx, id, clock.now()).await?;
    Ok(tx.commit().await?)
}
