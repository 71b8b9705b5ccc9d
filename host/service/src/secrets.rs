//! What is derived from the master key: the seal on secrets at rest, and the keys that
//! authenticate cursors, opaque tokens and the audit log.

mod reseal;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    constant_time::verify_slices_are_equal,
};
use base64::{Engine, engine::general_purpose::STANDARD};

pub use reseal::{Resealed, reseal};

use crate::{Result, ServiceError};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Bytes of a MAC that travels in a token.
pub(crate) const MAC_BYTES: usize = 32;

/// Master keys at most: the one in use, and those before it.
const KEYS_MAX: usize = 10;

/// The secrets of a host. Hosts that share a database share the master key.
///
/// What is written is sealed and authenticated under the newest key; what was written under
/// the ones before it still opens, and still holds.
pub struct Secrets {
    newest: Keys,
    older: Vec<Keys>,
}

/// What is derived from one master key.
struct Keys {
    sealing: RandomizedNonceKey,
    cursors: [u8; KEY_BYTES],
    refresh_tokens: [u8; KEY_BYTES],
    one_time_tokens: [u8; KEY_BYTES],
    audit: [u8; KEY_BYTES],
    plans: [u8; KEY_BYTES],
    signing_keys: [u8; KEY_BYTES],
    requests: [u8; KEY_BYTES],
    places: [u8; KEY_BYTES],
}

/// What a MAC is for: a MAC for one use is worth nothing in another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    RefreshToken,
    OneTimeToken,
    Audit,
    Plan,
    SigningKey,
    Request,
    Place,
}

impl Secrets {
    /// A new master key: 32 random bytes in base64.
    pub fn generate() -> String {
        STANDARD.encode(rand::random::<[u8; KEY_BYTES]>())
    }

    /// Read master keys, one a line, the newest first.
    pub fn from_master(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut keys = lines.map(Keys::from_master).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(ServiceError::Internal(format!("give 1 to {KEYS_MAX} master keys, one a line")));
        }
        Ok(Self { newest: keys.remove(0), older: keys })
    }

    /// What list cursors are authenticated by.
    pub(crate) fn cursors(&self) -> &[u8; KEY_BYTES] {
        &self.newest.cursors
    }

    fn all(&self) -> impl Iterator<Item = &Keys> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Encrypt what is kept in the database. `context` says what and whose it is; it opens
    /// under no other.
    pub(crate) fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let mut text = plain.to_vec();
        let sealing = &self.newest.sealing;
        let nonce = sealing
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut text)
            .map_err(ServiceError::internal)?;
        Ok([nonce.as_ref().as_slice(), &text].concat())
    }

    /// Decrypt it. Fails when it was changed, moved, or sealed under another master key.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        self.all()
            .find_map(|keys| keys.open(context, sealed))
            .ok_or_else(|| ServiceError::Internal(format!("{context} does not open: is this the right master key?")))
    }

    /// The same under the newest key, where it is sealed under one before it.
    pub(crate) fn reseal(&self, context: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.newest.open(context, sealed).is_some() {
            return Ok(None);
        }
        self.seal(context, &self.open(context, sealed)?).map(Some)
    }

    /// A MAC over these parts; how they are cut is part of it.
    pub(crate) fn mac(&self, of: Use, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.newest.mac(of, parts)
    }

    /// The MACs over these parts that still hold, the newest key's first.
    pub(crate) fn macs(&self, of: Use, parts: &[&[u8]]) -> Vec<[u8; MAC_BYTES]> {
        self.all().map(|keys| keys.mac(of, parts)).collect()
    }
}

impl Keys {
    fn from_master(text: &str) -> Result<Self> {
        let master = STANDARD.decode(text).ok().filter(|key| key.len() == KEY_BYTES).ok_or_else(|| {
            ServiceError::Internal(format!("the master key is unusable: it must be {KEY_BYTES} bytes in base64"))
        })?;
        let derive = |context: &str| blake3::derive_key(context, &master);
        let sealing = derive("purlin 2026 secrets at rest");
        Ok(Self {
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &sealing).map_err(ServiceError::internal)?,
            cursors: derive("purlin 2026 list cursors"),
            refresh_tokens: derive("purlin 2026 refresh tokens"),
            one_time_tokens: derive("purlin 2026 one-time tokens"),
            audit: derive("purlin 2026 audit log"),
            plans: derive("purlin 2026 plans"),
            signing_keys: derive("purlin 2026 signing keys"),
            requests: derive("purlin 2026 requests"),
            places: derive("purlin 2026 places"),
        })
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self.sealing.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text).ok()?;
        Some(plain.to_vec())
    }

    fn mac(&self, of: Use, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let key = match of {
            Use::RefreshToken => &self.refresh_tokens,
            Use::OneTimeToken => &self.one_time_tokens,
            Use::Audit => &self.audit,
            Use::Plan => &self.plans,
            Use::SigningKey => &self.signing_keys,
            Use::Request => &self.requests,
            Use::Place => &self.places,
        };
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize().into()
    }
}

/// Whether two secrets are the same, in time that does not tell how much of them is.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// The digest under which a secret of full entropy is kept.
pub(crate) fn digest(secret: &[u8]) -> String {
    blake3::hash(secret).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_context_and_key_only() {
        let secrets = Secrets::from_master(&Secrets::generate()).unwrap();
        let sealed = secrets.seal("totp of ada", b"secret").unwrap();
        assert_eq!(secrets.open("totp of ada", &sealed).unwrap(), b"secret");
        assert_ne!(sealed, secrets.seal("totp of ada", b"secret").unwrap(), "a nonce is never used twice");
        assert!(secrets.open("totp of bob", &sealed).is_err());
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert!(secrets.open("totp of ada", &changed).is_err());
        assert!(secrets.open("totp of ada", &sealed[..5]).is_err());
        assert!(Secrets::from_master(&Secrets::generate()).unwrap().open("totp of ada", &sealed).is_err());
        assert!(Secrets::from_master("short").is_err());
    }

    #[test]
    fn what_an_older_key_sealed_opens_and_is_sealed_anew_under_the_newest() {
        let (old, new) = (Secrets::generate(), Secrets::generate());
        let before = Secrets::from_master(&old).unwrap();
        let sealed = before.seal("totp of ada", b"secret").unwrap();
        let both = Secrets::from_master(&format!("{new}\n{old}\n")).unwrap();
        assert_eq!(both.open("totp of ada", &sealed).unwrap(), b"secret");
        let anew = both.reseal("totp of ada", &sealed).unwrap().unwrap();
        let after = Secrets::from_master(&new).unwrap();
        assert_eq!(after.open("totp of ada", &anew).unwrap(), b"secret");
        assert!(after.open("totp of ada", &sealed).is_err() && before.open("totp of ada", &anew).is_err());
        assert_eq!(both.reseal("totp of ada", &anew).unwrap(), None, "once is enough");
        assert!(both.macs(Use::Audit, &[b"a"]).contains(&before.mac(Use::Audit, &[b"a"])));
        assert_eq!(both.mac(Use::Audit, &[b"a"]), after.mac(Use::Audit, &[b"a"]));
        assert!(Secrets::from_master("").is_err() && Secrets::from_master(&format!("{new}\n").repeat(11)).is_err());
    }

    #[test]
    fn a_mac_depends_on_use_and_on_how_its_parts_are_cut() {
        let secrets = Secrets::from_master(&Secrets::generate()).unwrap();
        let mac = secrets.mac(Use::Audit, &[b"ab", b"c"]);
        assert!(same(&mac, &secrets.mac(Use::Audit, &[b"ab", b"c"])));
        assert!(!same(&mac, &secrets.mac(Use::Audit, &[b"a", b"bc"])));
        assert!(!same(&mac, &secrets.mac(Use::RefreshToken, &[b"ab", b"c"])));
    }
}
