use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host, text};

#[db_test]
async fn users_change_their_own_names_audited_and_told(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let me = ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada", "last_name": "Lovelace" })).await.expect(200);
    assert_eq!(me["first_name"], "Ada");
    let me = ada.patch("/api/v1/users/me", &json!({ "last_name": null })).await.expect(200);
    assert_eq!((&me["first_name"], &me["last_name"]), (&json!("Ada"), &Value::Null));
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=user.updated&sort=created_at").await;
    assert_eq!(rows[1]["changes"], json!({ "last_name": { "before": "Lovelace", "after": null } }));
    assert_eq!(rows.len(), 2);
    ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada" })).await.expect(200);
    assert_eq!(ada.rows("/api/v1/events?filter[type]=user.updated").await.len(), 2, "no change, no event");
}

#[db_test]
async fn users_cannot_change_what_is_not_theirs_to_change(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for body in
        [json!({ "is_operator": true }), json!({ "email": "x@y.example" }), json!({ "first_name": "x".repeat(200) })]
    {
        assert_eq!(ada.patch("/api/v1/users/me", &body).await.problem(422), "invalid");
    }
}

#[db_test]
async fn an_administrator_adds_changes_and_deletes_people(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let viewer = role_id(&ada, "viewer").await;
    let new = json!({ "email": "Bob@Acme.example", "password": "correct horse battery", "first_name": "Bob", "role_ids": [viewer] });
    let made = ada.post("/api/v1/users", &new).await;
    let path = made.headers["location"].to_str().unwrap().to_owned();
    let bob = made.expect(201);
    assert_eq!((&bob["email"], &bob["roles"]), (&json!("bob@acme.example"), &json!(["viewer"])));
    assert_eq!(ada.post("/api/v1/users", &new).await.problem(409), "email_taken");
    let changed = ada.patch(&path, &json!({ "first_name": "Robert", "email": "rob@acme.example" })).await.expect(200);
    assert_eq!((&changed["first_name"], &changed["email"]), (&json!("Robert"), &json!("rob@acme.example")));
    assert_eq!(ada.get(&path).await.expect(200), changed);
    ada.delete(&path).await.expect(204);
    assert_eq!(ada.get(&path).await.problem(404), "not_found");
    assert_eq!(ada.rows("/api/v1/users").await.len(), 1);
    // The address is free again.
    let again = json!({ "email": "rob@acme.example", "password": "correct horse battery" });
    ada.post("/api/v1/users", &again).await.expect(201);
    let types: Vec<Value> = ada
        .rows("/api/v1/events?filter[type][like]=user.*&sort=created_at")
        .await
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(types, ["user.created", "user.created", "user.updated", "user.deleted", "user.created"]);
    let told = ada.rows("/api/v1/audit-logs?filter[action]=user.updated").await;
    assert_eq!(told[0]["changes"]["email"], json!({ "before": "bob@acme.example", "after": "rob@acme.example" }));
}

#[db_test]
async fn somebody_added_without_a_password_sets_it_by_mail(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    ada.post("/api/v1/users", &json!({ "email": "bob@acme.example" })).await.expect(201);
    let empty = json!({ "email": "bob@acme.example", "password": "" });
    assert_eq!(host.anonymous().post("/api/v1/auth/login", &empty).await.problem(401), "unauthenticated");
    let token = host.mailbox().token("bob@acme.example", "Set a new password", 1).await;
    let reset = json!({ "token": token, "password": "correct horse battery" });
    host.anonymous().post("/api/v1/auth/password/reset", &reset).await.expect(204);
    let login = json!({ "email": "bob@acme.example", "password": "correct horse battery" });
    host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
}

#[db_test]
async fn the_last_administrator_stays_also_when_two_leave_at_once(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let (me, admin) = (id_of(&ada), role_id(&ada, "admin").await);
    let mine = format!("/api/v1/users/{me}");
    assert_eq!(ada.delete(&mine).await.problem(409), "last_admin");
    assert_eq!(ada.patch(&mine, &json!({ "is_active": false })).await.problem(409), "last_admin");
    assert_eq!(ada.delete(&format!("{mine}/roles/{admin}")).await.problem(409), "last_admin");
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let leave = |client: crate::support::Client| {
        let path = format!("/api/v1/users/{}/roles/{admin}", id_of(&client));
        tokio::spawn(async move { client.delete(&path).await.status })
    };
    let (a, b) = (leave(ada.clone()), leave(bob.clone()));
    let mut statuses = [a.await.unwrap(), b.await.unwrap()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "one of them stays");
}

#[db_test]
async fn nobody_grants_what_they_lack_nor_takes_over_who_may_more(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let role = json!({ "name": "people", "permissions": ["users:*", "roles:*", "invitations:*", "api-keys:*"] });
    let people = ada.post("/api/v1/roles", &role).await.expect(201)["id"].clone();
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    ada.send(ada.request(reqwest::Method::PUT, &format!("/api/v1/users/{}/roles/{}", id_of(&bob), text(&people))))
        .await
        .expect(200);
    let admin = role_id(&ada, "admin").await;
    let put =
        |user: String, role: &str| bob.request(reqwest::Method::PUT, &format!("/api/v1/users/{user}/roles/{role}"));
    assert_eq!(bob.send(put(id_of(&bob), &admin)).await.problem(403), "forbidden");
    let with_admin = json!({ "email": "eve@acme.example", "role_ids": [admin] });
    assert_eq!(bob.post("/api/v1/users", &with_admin).await.problem(403), "forbidden");
    assert_eq!(bob.post("/api/v1/invitations", &with_admin).await.problem(403), "forbidden");
    let role = json!({ "name": "all", "permissions": ["*:*"] });
    assert_eq!(bob.post("/api/v1/roles", &role).await.problem(403), "forbidden");
    let path = format!("/api/v1/roles/{}/permissions", text(&people));
    assert_eq!(bob.post(&path, &json!({ "permission": "audit:read" })).await.problem(403), "forbidden");
    let key = json!({ "name": "k", "scopes": ["audit:read"] });
    assert_eq!(bob.post("/api/v1/api-keys", &key).await.problem(403), "forbidden");
    // Who may more is neither renamed to an address of one's own, nor locked out.
    let adas = format!("/api/v1/users/{}", id_of(&ada));
    for change in [json!({ "email": "mine@acme.example" }), json!({ "is_active": false })] {
        assert_eq!(bob.patch(&adas, &change).await.problem(403), "forbidden");
    }
    assert_eq!(bob.delete(&adas).await.problem(403), "forbidden");
    // What bob has, bob gives.
    let carol =
        bob.post("/api/v1/users", &json!({ "email": "carol@acme.example", "role_ids": [people] })).await.expect(201);
    bob.patch(&format!("/api/v1/users/{}", text(&carol["id"])), &json!({ "is_active": false })).await.expect(200);
    bob.post("/api/v1/api-keys", &json!({ "name": "k", "scopes": ["users:read"] })).await.expect(201);
}

#[db_test]
async fn nobody_has_more_than_fifty_roles(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let viewer = role_id(&ada, "viewer").await;
    let new =
        |count: usize| json!({ "email": format!("u{count}@acme.example"), "role_ids": vec![viewer.clone(); count] });
    for path in ["/api/v1/users", "/api/v1/invitations"] {
        let body = ada.post(path, &new(51)).await.expect(422);
        assert_eq!(body["errors"][0]["pointer"], "/role_ids", "{path}");
    }
    let bob = ada.post("/api/v1/users", &new(50)).await.expect(201);
    assert_eq!(bob["roles"], json!(["viewer"]), "the same role is one role");
    let give = async |n: usize| {
        let role = ada.post("/api/v1/roles", &json!({ "name": format!("r{n}") })).await.expect(201);
        let path = format!("/api/v1/users/{}/roles/{}", text(&bob["id"]), text(&role["id"]));
        ada.send(ada.request(reqwest::Method::PUT, &path)).await
    };
    for n in 1..50 {
        give(n).await.expect(200);
    }
    assert_eq!(give(50).await.problem(409), "too_many_roles");
}

#[db_test]
async fn erasing_somebody_empties_what_is_personal_and_keeps_the_log(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["viewer"]).await;
    let path = format!("/api/v1/users/{}", id_of(&bob));
    assert_eq!(ada.post(&format!("{path}/erase"), &json!({})).await.problem(409), "not_deleted");
    ada.delete(&path).await.expect(204);
    let job = ada.post(&format!("{path}/erase"), &json!({})).await.expect(202);
    ada.post(&format!("{path}/erase"), &json!({})).await.expect(202);
    let job = ada.wait_for_job(&text(&job["id"])).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let events = ada.rows(&format!("/api/v1/events?filter[subject]={}", id_of(&bob))).await;
    assert!(events.len() >= 2 && events.iter().all(|event| event["data"]["erased"] == true), "{events:#?}");
    let erased = ada.rows("/api/v1/audit-logs?filter[action]=user.erased").await;
    assert_eq!((erased.len(), &erased[0]["on_behalf_of"]), (1, &json!(id_of(&ada))));
    assert_eq!(ada.get("/api/v1/audit-logs/verify").await.expect(200)["intact"], true);
}

fn id_of(client: &crate::support::Client) -> String {
    text(&client.me["user"]["id"])
}

async fn role_id(client: &crate::support::Client, name: &str) -> String {
    text(&client.rows(&format!("/api/v1/roles?filter[name]={name}")).await[0]["id"])
}
