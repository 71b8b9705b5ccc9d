//! The keys that sign access tokens, and what is derived from them.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use purlin_domain::Json;
use serde_json::json;

use crate::{Result, ServiceError};

const PEM_LABEL: &str = "PRIVATE KEY";

/// An RSA key pair, ready to sign and to verify.
pub struct Keys {
    pub(crate) id: String,
    pub(crate) encoding: EncodingKey,
    pub(crate) decoding: DecodingKey,
    /// Authenticates cursors: the same on every host that shares the private key.
    pub(crate) cursor_secret: [u8; 32],
    modulus: String,
    exponent: String,
}

impl Keys {
    /// A new 2,048-bit private key as PKCS #8 in PEM.
    pub fn generate() -> Result<String> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(ServiceError::internal)?;
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(ServiceError::internal)?;
        Ok(pem::encode(&pem::Pem::new(PEM_LABEL, der.as_ref())))
    }

    /// Read a private key as PKCS #8 in PEM, 2,048 bits at least.
    pub fn from_pem(text: &str) -> Result<Self> {
        let unusable = |why: String| ServiceError::Internal(format!("the signing key is unusable: {why}"));
        let document = pem::parse(text).map_err(|e| unusable(e.to_string()))?;
        if document.tag() != PEM_LABEL {
            return Err(unusable(format!("expected a PEM block `{PEM_LABEL}` (PKCS #8), found `{}`", document.tag())));
        }
        let pair = KeyPair::from_pkcs8(document.contents()).map_err(|e| unusable(e.to_string()))?;
        let public = pair.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
        Ok(Self {
            id: blake3::hash(&modulus).to_hex().chars().take(16).collect(),
            encoding: EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|e| unusable(e.to_string()))?,
            decoding: DecodingKey::from_rsa_raw_components(&modulus, &exponent),
            cursor_secret: blake3::derive_key("purlin 2026 list cursors", document.contents()),
            modulus: URL_SAFE_NO_PAD.encode(&modulus),
            exponent: URL_SAFE_NO_PAD.encode(&exponent),
        })
    }

    /// The public key as a JWK Set (RFC 7517).
    pub fn jwks(&self) -> Json {
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "n": self.modulus, "e": self.exponent,
        }] })
    }
}
