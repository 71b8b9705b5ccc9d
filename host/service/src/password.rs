//! Passwords: argon2id, off the async threads, a few at a time.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{Result, ServiceError};

/// Shortest password, in characters (NIST SP 800-63B asks for at least 8; 12 here).
pub const CHARACTERS_MIN: usize = 12;
/// Longest password, in bytes.
pub const BYTES_MAX: usize = 1_024;

/// The OWASP minimum for argon2id: 19 MiB, two passes, one lane.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes computed at the same time; each holds its memory and a core.
const AT_ONCE: usize = 2;
/// Callers that may wait for their turn; more are turned away.
const WAITING_MAX: usize = 200;

/// Hashes and verifies passwords.
pub struct Hasher {
    argon: Argon2<'static>,
    /// A hash that no password matches, so that an unknown address costs as much as a known one.
    decoy: String,
    turns: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new() -> Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(ServiceError::internal)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = argon.hash_password(b"decoy").map_err(ServiceError::internal)?.to_string();
        Ok(Self {
            argon,
            decoy,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// The hash of a password, in PHC form.
    pub async fn hash(&self, password: String) -> Result<String> {
        let argon = self.argon.clone();
        self.in_turn(move || {
            argon.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(ServiceError::internal)
        })
        .await?
    }

    /// Whether the password is the one behind `hash`; with no hash, no, and as slowly.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let argon = self.argon.clone();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let matches = self
            .in_turn(move || match PasswordHash::new(&hash) {
                Ok(hash) => Ok(argon.verify_password(password.as_bytes(), &hash).is_ok()),
                Err(error) => Err(ServiceError::internal(error)),
            })
            .await??;
        Ok(matches && known)
    }

    /// Whether a hash was made with weaker parameters than these.
    pub fn is_outdated(&self, hash: &str) -> bool {
        let current = |hash: &PasswordHash| {
            Params::try_from(hash)
                .is_ok_and(|p| p.m_cost() >= MEMORY_KIB && p.t_cost() >= PASSES && p.p_cost() >= LANES)
        };
        PasswordHash::new(hash).is_ok_and(|hash| !current(&hash))
    }

    /// The permit moves into the blocking task: a caller who hangs up does not free it early.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = |_| ServiceError::Unavailable("too many sign-ins at once".to_owned());
        let waiting = Arc::clone(&self.queue).try_acquire_owned().map_err(busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(ServiceError::internal)?;
        drop(waiting);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(ServiceError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash("correct horse battery".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify("correct horse battery".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("correct horse batterz".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("decoy".to_owned(), None).await.unwrap());
        assert!(!hasher.is_outdated(&hash));
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        assert!(hasher.is_outdated(&weak.hash_password(b"x").unwrap().to_string()));
    }
}
