use purlin_test_macros::db_test;

use crate::support::{Database, Host, component};

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
