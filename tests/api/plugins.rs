use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Database, Host, component};

#[db_test]
async fn the_operator_uploads_and_every_tenant_sees_what_is_on_offer(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let version = operator.upload(component("inventory")).await.expect(201);
    assert_eq!(version["descriptor"]["collections"][0]["name"], "items");
    assert!(
        version["report"]["imports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|i| i.as_str().unwrap().starts_with("purlin:platform/records"))
    );
    let again = operator.upload(component("inventory")).await.expect(200);
    assert_eq!(again["id"], version["id"], "the same bytes are no change");
    let ada = host.tenant("acme").await;
    assert_eq!(ada.rows("/api/v1/plugins").await.len(), 1);
    assert_eq!(ada.get("/api/v1/plugins/inventory").await.expect(200)["versions"][0]["digest"], version["digest"]);
    assert_eq!(ada.get("/api/v1/plugins/inventory/versions/0.1.0").await.expect(200)["id"], version["id"]);
    assert_eq!(ada.get("/api/v1/plugins/crm").await.problem(404), "not_found");
}

#[db_test]
async fn a_tenants_administrator_does_not_upload(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    assert_eq!(ada.upload(component("inventory")).await.problem(403), "forbidden");
    assert_eq!(host.anonymous().upload(component("inventory")).await.problem(401), "unauthenticated");
}

#[db_test]
async fn a_version_never_changes(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    operator.upload(component("inventory")).await.expect(201);
    // A custom section more: the same plugin in other bytes.
    let mut other = component("inventory");
    other.extend_from_slice(&[0, 3, 1, b'x', 0]);
    assert_eq!(operator.upload(other).await.problem(409), "version_taken");
}

#[db_test]
async fn what_is_not_an_acceptable_component_is_refused_with_the_reason(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    let empty_component = b"\0asm\x0d\0\x01\0".to_vec();
    let mut truncated = component("inventory");
    truncated.truncate(5_000);
    // (component (import "wasi:http/types@0.2.0" (instance))): a type section, an import section.
    let name = b"wasi:http/types@0.2.0";
    let mut importing = empty_component.clone();
    importing.extend_from_slice(&[7, 3, 1, 0x42, 0]);
    importing.extend_from_slice(&[10, u8::try_from(name.len()).unwrap() + 5, 1, 0, u8::try_from(name.len()).unwrap()]);
    importing.extend_from_slice(name);
    importing.extend_from_slice(&[5, 0]);
    for (bytes, code, word) in [
        (core_module, "kind", "core module"),
        (b"\x7fELF and so on".to_vec(), "kind", "not a WebAssembly component"),
        (b"".to_vec(), "kind", "not a WebAssembly component"),
        (truncated, "component", ""),
        (empty_component, "world", ""),
        (importing, "import", "wasi:http/types"),
    ] {
        let body = operator.upload(bytes).await.expect(422);
        assert_eq!(body["errors"][0]["code"], code, "{body:#}");
        assert!(body["errors"][0]["detail"].as_str().unwrap().contains(word), "{body:#}");
    }
    let wrong_type = operator.request(reqwest::Method::POST, "/api/v1/plugins").body(component("inventory"));
    assert_eq!(operator.send(wrong_type).await.problem(415), "media_type");
    let large = operator.upload(vec![0; (32 << 20) + 1]).await;
    assert_eq!(large.problem(413), "too_large");
    assert!(operator.rows("/api/v1/plugins").await.is_empty());
}

#[db_test]
async fn where_a_publisher_is_registered_only_what_they_signed_is_taken(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let (own, other) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let path = "/api/v1/plugins/inventory/publisher";
    let put = async |client: &Client, key: String| {
        client.send(client.request(Method::PUT, path).json(&json!({ "public_key": key }))).await
    };
    assert_eq!(operator.get(path).await.status, 404);
    assert_eq!(put(&operator, "nonsense".to_owned()).await.problem(422), "invalid");
    let ada = host.tenant("acme").await;
    let key = STANDARD.encode(own.public_key().as_ref());
    assert_eq!(put(&ada, key.clone()).await.problem(403), "forbidden");
    // As PEM: what stands before the key says that it is one of Ed25519.
    let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], own.public_key().as_ref()];
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.concat()));
    assert_eq!(put(&operator, pem).await.expect(200)["public_key"], key.as_str());
    assert_eq!(ada.get(path).await.expect(200)["public_key"], key.as_str());

    let component = component("inventory");
    let upload = async |signature: Option<&[u8]>| {
        let mut request = operator.request(Method::POST, "/api/v1/plugins").header("content-type", "application/wasm");
        if let Some(signature) = signature {
            request = request.header("plugin-signature", STANDARD.encode(signature));
        }
        operator.send(request.body(component.clone())).await
    };
    let (good, foreign) = (own.sign(&component), other.sign(&component));
    let of_other_bytes = own.sign(b"other bytes");
    for wrong in [None, Some(&b"short"[..]), Some(foreign.as_ref()), Some(of_other_bytes.as_ref())] {
        let refused = upload(wrong).await;
        assert_eq!(refused.body["errors"][0]["code"], "signature", "{:#}", refused.body);
        assert_eq!(refused.problem(422), "invalid");
    }
    assert_eq!(upload(Some(good.as_ref())).await.expect(201)["report"]["signed_by"], key.as_str());
    assert_eq!(upload(None).await.problem(422), "invalid", "also what is there already");
    operator.delete(path).await.expect(204);
    upload(None).await.expect(200);
    let audit = operator.rows("/api/v1/audit-logs?filter[action][like]=plugin.publisher*&sort=created_at").await;
    let actions: Vec<&str> = audit.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["plugin.publisher_set", "plugin.publisher_removed"]);
}
