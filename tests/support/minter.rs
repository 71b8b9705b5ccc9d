//! Mints access tokens of any shape: a signing key of the tests' own, made known to a host
//! as if it were one of its older ones.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use purlin_domain::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{Client, Host};

pub struct Minter {
    pub id: String,
    /// PKCS #8 in PEM.
    pub private: String,
    pub public: Value,
    key: EncodingKey,
}

impl Minter {
    /// A key that nobody knows.
    pub fn unknown(id: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let private = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", wrapped(der.as_ref()));
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
            "n": part(pair.public_key().modulus().big_endian_without_leading_zero()),
            "e": part(pair.public_key().exponent().big_endian_without_leading_zero()),
        });
        let key = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        Self { id: id.to_owned(), private, public, key }
    }

    /// A key that the host takes for one of its older ones.
    pub async fn known_to(host: &Host, id: &str) -> Self {
        let minter = Self::unknown(id);
        let mac = minter.mac(host);
        let long_ago = if host.database.is_postgres() { "2020-01-01T00:00:00Z" } else { "2020-01-01T00:00:00+00:00" };
        host.database
            .execute(&format!(
                "INSERT INTO signing_keys (id, public_key, private_key, mac, signs_from, retired_at, created_at)
                 VALUES ('{id}', '{}', NULL, '{mac}', '{long_ago}', NULL, '{long_ago}')",
                minter.public
            ))
            .await;
        // The host looks every three seconds.
        for _ in 0..100 {
            let jwks = host.anonymous().get("/.well-known/jwks.json").await.body.to_string();
            if jwks.contains(id) {
                return minter;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the host does not see the key");
    }

    /// What binds the key to the host's master key.
    pub fn mac(&self, host: &Host) -> String {
        let master = std::fs::read_to_string(host.database.directory.path().join("master.key")).unwrap();
        let master = base64::engine::general_purpose::STANDARD.decode(master.trim()).unwrap();
        let key = blake3::derive_key("purlin 2026 signing keys", &master);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in [self.id.as_str(), self.public["n"].as_str().unwrap(), self.public["e"].as_str().unwrap()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    pub fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::RS256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.id.clone());
        header
    }

    /// The claims of a good token for whoever signed in there.
    pub fn claims(client: &Client) -> Value {
        let own = claims_of(client.token.as_ref().unwrap());
        let now = SystemClock.now().timestamp();
        json!({
            "iss": "purlin", "aud": "purlin", "sub": own["sub"], "tenant": own["tenant"], "sid": own["sid"],
            "roles": [], "jti": SystemClock.id(), "iat": now, "exp": now + 300,
        })
    }

    pub fn mint(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }

    /// A signature over any text.
    pub fn sign(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, Algorithm::RS256).unwrap()
    }
}

/// What a token says, unverified.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn wrapped(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
}

/// The code that a device with this TOTP secret shows, so many steps from now.
pub fn code(secret: &str, steps: i64) -> String {
    let totp = totp_rs::Builder::new()
        .with_secret(totp_rs::Secret::try_from_base32(secret).unwrap())
        .with_account_name("x")
        .with_issuer(Some("x"))
        .build()
        .unwrap();
    let now = SystemClock.now().timestamp() + steps * 30;
    totp.generate(now.try_into().unwrap()).to_string()
}
