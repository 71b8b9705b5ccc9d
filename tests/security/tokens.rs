//! Access tokens that were forged or damaged, each with its good twin.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, Minter};

/// Tokens to be refused, each with what is wrong with it.
struct Forgery {
    minter: Minter,
    good: Value,
    all: Vec<(String, String)>,
}

impl Forgery {
    fn add(&mut self, what: impl Into<String>, token: String) {
        self.all.push((what.into(), token));
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        self.minter.mint(header, claims)
    }

    /// A good token but for this claim.
    fn claim(&mut self, name: &str, value: Value) {
        let mut claims = self.good.clone();
        claims[name] = value.clone();
        let token = self.sign(&self.minter.header(), &claims);
        self.add(format!("{name} is {value}"), token);
    }

    fn without(&mut self, name: &str) {
        let mut claims = self.good.clone();
        claims.as_object_mut().unwrap().remove(name);
        let token = self.sign(&self.minter.header(), &claims);
        self.add(format!("{name} is missing"), token);
    }

    /// A good token with this header, rightly signed.
    fn header(&mut self, what: &str, header: &Value) {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(self.good.to_string()));
        let token = format!("{signed}.{}", self.minter.sign(&signed));
        self.add(what, token);
    }
}

fn algorithms(forgery: &mut Forgery) {
    let kid = forgery.minter.id.clone();
    let claims = forgery.good.clone();
    let text = B64.encode(claims.to_string());
    for name in ["none", "None", "NONE", "nOnE"] {
        let header = B64.encode(json!({ "alg": name, "typ": "at+jwt", "kid": kid }).to_string());
        forgery.add(format!("alg {name}, no signature"), format!("{header}.{text}."));
        forgery.add(format!("alg {name}, a signature"), format!("{header}.{text}.{}", forgery.minter.sign("x")));
    }
    let public = forgery.minter.public.to_string();
    let modulus = forgery.minter.public["n"].as_str().unwrap().to_owned();
    for secret in [public, modulus, forgery.minter.private.clone(), String::new()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = forgery.minter.header();
            header.alg = algorithm;
            let token = encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
            forgery.add(format!("{algorithm:?} with what is public for a secret"), token);
        }
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512] {
        let mut header = forgery.minter.header();
        header.alg = algorithm;
        let key = EncodingKey::from_rsa_pem(forgery.minter.private.as_bytes()).unwrap();
        forgery.add(format!("{algorithm:?} by the right key"), encode(&header, &claims, &key).unwrap());
    }
    for alg in [json!("ES256"), json!("EdDSA"), json!("RS257"), json!(""), json!(null), json!(["RS256"])] {
        forgery
            .header(&format!("alg {alg} over an RS256 signature"), &json!({ "alg": alg, "typ": "at+jwt", "kid": kid }));
    }
}

fn headers(forgery: &mut Forgery) {
    let kid = forgery.minter.id.clone();
    for typ in [
        json!("JWT"),
        json!("refresh+jwt"),
        json!("audit-checkpoint+jwt"),
        json!("AT+JWT"),
        json!(""),
        json!(null),
        json!(1),
    ] {
        forgery.header(&format!("typ {typ}"), &json!({ "alg": "RS256", "typ": typ, "kid": kid }));
    }
    forgery.header("no typ", &json!({ "alg": "RS256", "kid": kid }));
    forgery.header("no kid", &json!({ "alg": "RS256", "typ": "at+jwt" }));
    for wrong in [json!("unknown"), json!(""), json!(null), json!(1), json!("../../etc/passwd"), json!("' OR 1=1 --")] {
        forgery.header(&format!("kid {wrong}"), &json!({ "alg": "RS256", "typ": "at+jwt", "kid": wrong }));
    }
    // A stranger's key, brought along or pointed at.
    let stranger = Minter::unknown("stranger");
    for (name, value) in [
        ("jwk", stranger.public.clone()),
        ("jku", json!("http://127.0.0.1:1/jwks.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
    ] {
        let mut header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "stranger" });
        header[name] = value;
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(forgery.good.to_string()));
        forgery.add(format!("its own {name}"), format!("{signed}.{}", stranger.sign(&signed)));
    }
    let mut header = stranger.header();
    header.kid = Some(kid);
    forgery.add("a stranger's signature under a known kid", stranger.mint(&header, &forgery.good));
    forgery.add("a stranger's token", stranger.mint(&stranger.header(), &forgery.good));
}

fn claims(forgery: &mut Forgery, other: &Client) {
    let now = SystemClock.now().timestamp();
    for name in ["iss", "aud", "sub", "tenant", "sid", "exp", "iat", "jti"] {
        forgery.without(name);
    }
    for value in [json!("other"), json!(""), json!(null), json!(["other"]), json!("Purlin"), json!(1)] {
        forgery.claim("iss", value);
    }
    for value in [json!("other"), json!(["other"]), json!([]), json!(null), json!("purlin ")] {
        forgery.claim("aud", value);
    }
    for value in [json!(now - 60), json!(0), json!(-1), json!("9999999999"), json!(null), json!(true), json!("soon")] {
        forgery.claim("exp", value);
    }
    for value in [json!(now + 60), json!(9_999_999_999_i64)] {
        forgery.claim("nbf", value);
    }
    forgery.claim("iat", json!(now + 3_600));
    let theirs = Minter::claims(other);
    for name in ["sub", "tenant", "sid"] {
        for value in [json!(SystemClock.id()), json!("x"), json!(null), theirs[name].clone()] {
            forgery.claim(name, value);
        }
    }
}

fn encodings(forgery: &mut Forgery) {
    let good = forgery.sign(&forgery.minter.header(), &forgery.good);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let bytes = B64.decode(signature).unwrap();
    let with = |signature: &[u8]| format!("{header}.{claims}.{}", B64.encode(signature));
    let flipped = |i: usize| {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        changed
    };
    for i in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        forgery.add(format!("a bit of byte {i} of the signature"), with(&flipped(i)));
    }
    forgery.add("a signature that is cut", with(&bytes[..bytes.len() - 1]));
    forgery.add("a signature that is longer", with(&[bytes.as_slice(), &[0]].concat()));
    forgery.add("a signature with a zero before it", with(&[&[0], bytes.as_slice()].concat()));
    forgery.add("a signature of zeros", with(&[0; 256]));
    forgery.add("a signature of ones", with(&[0xff; 256]));
    // The same number modulo n has another encoding: the signature plus the modulus.
    let modulus = B64.decode(forgery.minter.public["n"].as_str().unwrap()).unwrap();
    let mut carry = 0u16;
    let mut sum: Vec<u8> = bytes
        .iter()
        .rev()
        .zip(modulus.iter().rev())
        .map(|(a, b)| {
            let total = u16::from(*a) + u16::from(*b) + carry;
            carry = total >> 8;
            total.to_le_bytes()[0]
        })
        .collect();
    sum.push(carry.to_le_bytes()[0]);
    sum.reverse();
    forgery.add("the signature plus the modulus", with(&sum));
    // The last character of base64 has bits that decode to nothing.
    let last = signature.chars().last().unwrap();
    for other in ["B", "R", "h", "x"].iter().filter(|c| **c != last.to_string()) {
        forgery.add(
            "another spelling of the signature",
            format!("{header}.{claims}.{}{other}", &signature[..signature.len() - 1]),
        );
    }
    forgery.add("padding", format!("{header}.{claims}.{signature}=="));
    forgery.add(
        "standard base64",
        format!("{header}.{claims}.{}", base64::engine::general_purpose::STANDARD.encode(&bytes)),
    );
    forgery.add("a newline within", format!("{header}.{claims}.{}%0a{}", &signature[..9], &signature[9..]));
    for token in [
        format!("{header}.{claims}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{good}.x"),
        format!("{good}."),
        format!("{claims}.{header}.{signature}"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(20_000),
    ] {
        forgery.add("another shape", token);
    }
    let other_claims = B64.encode(json!({ "sub": "x" }).to_string());
    forgery.add("other claims under the same signature", format!("{header}.{other_claims}.{signature}"));
    let not_json = format!("{header}.{}", B64.encode("not json"));
    forgery.add("claims that are no JSON", format!("{not_json}.{}", forgery.minter.sign(&not_json)));
    let list = format!("{header}.{}", B64.encode("[]"));
    forgery.add("claims that are a list", format!("{list}.{}", forgery.minter.sign(&list)));
}

#[db_test]
async fn every_forged_or_damaged_token_is_refused_and_its_good_twin_taken(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    let minter = Minter::known_to(&host, "old-key").await;
    let mut forgery = Forgery { minter, good: Minter::claims(&ada), all: Vec::new() };
    let good = forgery.sign(&forgery.minter.header(), &forgery.good);
    algorithms(&mut forgery);
    headers(&mut forgery);
    claims(&mut forgery, &bob);
    encodings(&mut forgery);
    assert!(forgery.all.len() >= 60, "{}", forgery.all.len());
    for (what, token) in &forgery.all {
        let answer = ada.with_token(token).get("/api/v1/users/me").await;
        assert_eq!(answer.status, 401, "{what}: {token} {}", answer.body);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        ada.with_token(&good).get("/api/v1/users/me").await.expect(200);
    }
    crate::support::measured!(
        "{} forged or damaged tokens refused, {} good twins taken",
        forgery.all.len(),
        forgery.all.len()
    );
}

#[db_test]
async fn keys_rotate_without_a_request_that_fails_and_a_retired_one_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let run = |arguments: &[&str]| {
        let output = Host::command(&host.database, &crate::support::Options::default(), arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let kid = |client: &Client| {
        let header = client.token.as_ref().unwrap().split('.').next().unwrap();
        let header: Value = serde_json::from_slice(&B64.decode(header).unwrap()).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    };
    let old = kid(&ada);
    let (retired, _, why) = run(&["keys", "retire", &old]);
    assert!(!retired && why.contains("rotate first"), "{why}");
    let (rotated, shown, why) = run(&["keys", "rotate"]);
    assert!(rotated && shown.contains("next"), "{shown}{why}");
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    let mut newest = ada.clone();
    for _ in 0..60 {
        newest = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
        for client in [&ada, &newest] {
            client.get("/api/v1/users/me").await.expect(200);
        }
        if kid(&newest) != old {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert_ne!(kid(&newest), old, "the new key signs");
    let (retired, shown, why) = run(&["keys", "retire", &old]);
    assert!(retired && shown.contains("retired"), "{shown}{why}");
    for _ in 0..100 {
        if ada.get("/api/v1/users/me").await.status == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ada.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    newest.get("/api/v1/users/me").await.expect(200);
    let jwks = host.anonymous().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    // What a refresh token is good for does not depend on the key.
    let refresh = json!({ "refresh_token": ada.me["refresh_token"] });
    host.anonymous().post("/api/v1/auth/refresh", &refresh).await.expect(200);
    assert_eq!(newest.get("/api/v1/audit-logs/verify").await.expect(200)["intact"], true, "old checkpoints still hold");
}
