//! Every operation of the API, tried by those who may not.

use purlin_api::{Needs, operations};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Client, Database, Host};

fn path(template: &str) -> String {
    let id = "01930000-0000-7000-8000-000000000000";
    template
        .replace("{id}", id)
        .replace("{plugin}", "probe")
        .replace("{name}", "probe")
        .replace("{collection}", "notes")
        .replace("{version}", "0.1.0")
}

async fn call(client: &Client, method: &Method, template: &str) -> Answer {
    let request = client.request(method.clone(), &path(template));
    let request = if *method == Method::GET || *method == Method::DELETE { request } else { request.json(&json!({})) };
    client.send(request).await
}

#[db_test]
async fn no_operation_that_needs_somebody_answers_nobody(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let nobody = host.anonymous();
    let (mut guarded, mut open) = (0, 0);
    for operation in operations() {
        let answer = call(&nobody, &operation.method, operation.path).await;
        let forged = call(&ada.with_token("not.a.token"), &operation.method, operation.path).await;
        if operation.needs == Needs::Nothing {
            open += 1;
            assert_ne!(answer.status, 401, "{} {}", operation.method, operation.path);
        } else {
            guarded += 1;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert_eq!(answer.problem(401), "unauthenticated", "{} {}", operation.method, operation.path);
            assert_eq!(forged.problem(401), "unauthenticated", "{} {}", operation.method, operation.path);
        }
    }
    assert!(guarded > 20 && open == 6, "{guarded} guarded, {open} open");
}

#[db_test]
async fn a_user_without_roles_is_refused_what_an_administrator_is_not(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for operation in operations() {
        let granted = call(&ada, &operation.method, operation.path).await;
        match operation.needs {
            Needs::Operator => assert_eq!(granted.problem(403), "forbidden"),
            _ => assert!(
                granted.status != 401 && granted.status != 403,
                "{} {}: {}",
                operation.method,
                operation.path,
                granted.status
            ),
        }
    }
    // The calls above disabled the plugin too.
    ada.enable("probe").await;
    take_roles_away(&host).await;
    for operation in operations() {
        let answer = call(&ada, &operation.method, operation.path).await;
        match operation.needs {
            Needs::Permission(..) | Needs::Collection(_) | Needs::Operator => {
                assert_eq!(answer.problem(403), "forbidden", "{} {}", operation.method, operation.path);
            }
            Needs::SignedIn | Needs::Nothing => {
                assert_ne!(answer.status, 403, "{} {}", operation.method, operation.path)
            }
        }
    }
}

#[db_test]
async fn a_user_or_a_tenant_that_is_no_longer_active_is_refused_at_once(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    host.database.execute("UPDATE users SET is_active = false WHERE email = 'admin@acme.example'").await;
    host.database.execute("UPDATE tenants SET status = 'suspended' WHERE slug = 'bolts'").await;
    for client in [&ada, &bob] {
        assert_eq!(client.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    }
    for slug in ["acme", "bolts"] {
        let login = json!({ "email": format!("admin@{slug}.example"), "password": "correct horse battery" });
        assert_eq!(host.anonymous().post("/api/v1/auth/login", &login).await.problem(401), "unauthenticated");
    }
    host.tenant("cranes").await.get("/api/v1/users/me").await.expect(200);
}

async fn take_roles_away(host: &Host) {
    host.database.execute("DELETE FROM user_roles").await;
}
