//! Passwords: argon2id, off the async threads, a few at a time.

use std::{net::IpAddr, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use purlin_domain::{id::TenantId, principal::Principal, text::normalized};
use purlin_store::shares::{NoShare, Share, Shares};

use uuid::Uuid;

use crate::{Result, ServiceError, auth::network};

/// Shortest password, in characters (NIST SP 800-63B asks for at least 8; 12 here).
pub const CHARACTERS_MIN: usize = 12;
/// Longest password, in bytes.
pub const BYTES_MAX: usize = 1_024;

/// The OWASP minimum for argon2id: 19 MiB, two passes, one lane.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes computed at the same time; each holds its memory and a core. One of the turns is for
/// signing in alone.
const SIGN_INS_AT_ONCE: usize = 1;
const OTHERS_AT_ONCE: usize = 1;
/// Who may wait for a turn: in all, to sign in from one address, of one tenant and of one caller.
const WAITING_MAX: usize = 200;
const WAITING_OF_ADDRESS_MAX: usize = 20;
const WAITING_OF_TENANT_MAX: usize = 20;
const WAITING_OF_CALLER_MAX: usize = 2;
/// How long anybody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long somebody waits who is refused at once: programs that ask again and again are slowed by it.
const REFUSED_AFTER: Duration = Duration::from_millis(500);

/// A turn to hash, and the caller's place among those who wait.
#[expect(dead_code, reason = "held until the hash is made")]
enum Turn {
    SignIn(Share<Option<String>>),
    Other(Share<TenantId>, Option<Share<String>>),
}

/// On whose behalf a password is hashed.
#[derive(Clone, Debug)]
pub enum Hashing {
    /// Somebody signs in, or has forgotten a password: from this address.
    SigningIn(Option<IpAddr>),
    /// A caller of a tenant sets passwords, or proves theirs.
    Caller(TenantId, String),
}

impl Hashing {
    /// As the caller of a request.
    pub fn of(principal: &Principal) -> Self {
        Self::Caller(principal.tenant, principal.actor.name())
    }
}

/// Hashes and verifies passwords.
pub struct Hasher {
    argon: Argon2<'static>,
    /// A hash that no password matches, so that an unknown address costs as much as a known one.
    decoy: String,
    sign_ins: Shares<Option<String>>,
    others: Shares<TenantId>,
    callers: Shares<String>,
}

impl Hasher {
    pub(crate) fn new() -> Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(ServiceError::internal)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = argon.hash_password(b"decoy").map_err(ServiceError::internal)?.to_string();
        Ok(Self {
            argon,
            decoy,
            sign_ins: Shares::limited(SIGN_INS_AT_ONCE, 1, WAITING_MAX, WAITING_OF_ADDRESS_MAX),
            others: Shares::limited(OTHERS_AT_ONCE, 1, WAITING_MAX, WAITING_OF_TENANT_MAX),
            callers: Shares::limited(usize::MAX, WAITING_OF_CALLER_MAX, 0, 0),
        })
    }

    /// The hash of a password, in PHC form. Of texts that are the same letters one is the password
    /// of the other (NIST SP 800-63B, 3.1.1.2).
    pub async fn hash(&self, whose: &Hashing, password: &str) -> Result<String> {
        let (argon, password) = (self.argon.clone(), normalized(password));
        self.in_turn(whose, move || {
            argon.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(ServiceError::internal)
        })
        .await?
    }

    /// Whether the password is the one behind `hash`; with no hash, no, and as slowly.
    pub async fn verify(&self, whose: &Hashing, password: &str, hash: Option<String>) -> Result<bool> {
        // Older hosts hashed the letters as they came.
        let as_sent = Some(password.to_owned()).filter(|sent| *sent != normalized(sent));
        let (argon, password) = (self.argon.clone(), normalized(password));
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let matches = self
            .in_turn(whose, move || match PasswordHash::new(&hash) {
                Ok(hash) => {
                    let is_hash_of = |text: &str| argon.verify_password(text.as_bytes(), &hash).is_ok();
                    Ok(is_hash_of(&password) || as_sent.is_some_and(|sent| is_hash_of(&sent)))
                }
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

    /// The turn moves into the blocking task: a caller who hangs up does not free it early.
    async fn in_turn<T: Send + 'static>(
        &self,
        whose: &Hashing,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = self.turn(whose).await;
        if matches!(turn, Err(NoShare::Full)) {
            tokio::time::sleep(REFUSED_AFTER).await;
        }
        let busy = |_| ServiceError::Unavailable("too many passwords are checked at this moment".to_owned());
        blocking(turn.map_err(busy)?, work).await
    }

    async fn turn(&self, whose: &Hashing) -> std::result::Result<Turn, NoShare> {
        match whose {
            Hashing::SigningIn(address) => {
                let from = address.map(network);
                // The turn of the others where nobody wants it.
                if let Some(turn) = self.others.try_take(&TenantId(Uuid::nil())) {
                    return Ok(Turn::Other(turn, None));
                }
                self.sign_ins.take(&from, PATIENCE).await.map(Turn::SignIn)
            }
            Hashing::Caller(tenant, caller) => {
                let place = self.callers.try_take(caller).ok_or(NoShare::Full)?;
                Ok(Turn::Other(self.others.take(tenant, PATIENCE).await?, Some(place)))
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    turn: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.map_err(ServiceError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let (hasher, whose) = (Hasher::new().unwrap(), Hashing::SigningIn(None));
        let hash = hasher.hash(&whose, "correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify(&whose, "correct horse battery", Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(&whose, "correct horse batterz", Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(&whose, "decoy", None).await.unwrap());
        assert!(!hasher.is_outdated(&hash));
        let sent = "cafe\u{301} cafe\u{301} cafe\u{301}";
        let of_older = hasher.argon.hash_password(sent.as_bytes()).unwrap().to_string();
        assert!(hasher.verify(&whose, sent, Some(of_older.clone())).await.unwrap());
        assert!(!hasher.verify(&whose, "cafe cafe cafe", Some(of_older)).await.unwrap());
        let composed = hasher.hash(&whose, "caf\u{e9} caf\u{e9} caf\u{e9}").await.unwrap();
        assert!(hasher.verify(&whose, "cafe\u{301} cafe\u{301} cafe\u{301}", Some(composed)).await.unwrap());
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        assert!(hasher.is_outdated(&weak.hash_password(b"x").unwrap().to_string()));
    }
}
