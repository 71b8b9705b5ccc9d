use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Database, Host};

#[db_test]
async fn a_record_is_created_read_changed_and_deleted(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let created = ada.post("/api/v1/apps/inventory/items", &json!({ "sku": "A-1", "name": "Bolt", "stock": 5 })).await;
    let path = created.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(created.headers["etag"], "\"v1\"");
    assert_eq!(created.expect(201)["data"]["stock"], 5);
    let changed = ada.patch(&path, &json!({ "stock": 9, "reorder_point": null, "name": "Bolt M8" })).await.expect(200);
    assert_eq!(
        (&changed["version"], &changed["data"]),
        (&json!(2), &json!({ "sku": "A-1", "name": "Bolt M8", "stock": 9 }))
    );
    assert_eq!(ada.get(&path).await.expect(200), changed);
    ada.delete(&path).await.expect(204);
    assert_eq!(ada.get(&path).await.problem(404), "not_found");
    assert_eq!(ada.delete(&path).await.problem(404), "not_found");

    let audit = ada.rows("/api/v1/audit-logs?filter[resource_type]=inventory.items&sort=created_at").await;
    let actions: Vec<&str> = audit.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["inventory.items.created", "inventory.items.updated", "inventory.items.deleted"]);
    assert_eq!(audit[1]["changes"]["stock"], json!({ "before": 5, "after": 9 }));
    let events = ada.rows("/api/v1/events?filter[type][like]=inventory.items.*&sort=created_at").await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["data"]["before"]["stock"], 5);
}

#[db_test]
async fn a_change_that_expects_another_version_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let id = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    let path = format!("/api/v1/apps/inventory/items/{id}");
    let change =
        |tag: &'static str| ada.request(Method::PATCH, &path).header("if-match", tag).json(&json!({ "stock": 1 }));
    assert_eq!(ada.send(change("\"v7\"")).await.problem(412), "precondition_failed");
    assert_eq!(ada.send(change("\"x\"")).await.problem(412), "precondition_failed");
    ada.send(change("\"v1\"")).await.expect(200);
    assert_eq!(
        ada.send(ada.request(Method::DELETE, &path).header("if-match", "\"v1\"")).await.problem(412),
        "precondition_failed"
    );
    ada.send(ada.request(Method::DELETE, &path).header("if-match", "*")).await.expect(204);
}

#[db_test]
async fn a_record_must_fit_its_schema(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for bad in [
        json!({ "sku": "A" }),
        json!({ "sku": "", "name": "x" }),
        json!({ "sku": "A", "name": "x", "colour": "red" }),
        json!([]),
        json!({ "sku": "A", "name": "x", "stock": "many" }),
    ] {
        let body = ada.post("/api/v1/apps/inventory/items", &bad).await.expect(422);
        assert!(!body["errors"].as_array().unwrap().is_empty(), "{body:#}");
    }
    assert!(ada.rows("/api/v1/apps/inventory/items").await.is_empty());
}

#[db_test]
async fn a_unique_key_is_taken_once_and_free_again_after_its_record(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item = json!({ "sku": "A-1", "name": "Bolt" });
    let id = ada.create("inventory/items", item.clone()).await;
    let other = ada.create("inventory/items", json!({ "sku": "B-1", "name": "Nut" })).await;
    assert_eq!(ada.post("/api/v1/apps/inventory/items", &item).await.problem(409), "conflict");
    assert_eq!(
        ada.patch(&format!("/api/v1/apps/inventory/items/{other}"), &json!({ "sku": "A-1" })).await.problem(409),
        "conflict"
    );
    ada.patch(&format!("/api/v1/apps/inventory/items/{id}"), &json!({ "sku": "A-2" })).await.expect(200);
    let id = ada.create("inventory/items", item.clone()).await;
    ada.delete(&format!("/api/v1/apps/inventory/items/{id}")).await.expect(204);
    ada.create("inventory/items", item).await;
}

#[db_test]
async fn of_many_who_take_one_key_at_once_one_gets_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item = json!({ "sku": "A-1", "name": "Bolt" });
    let tries = (0..8).map(|_| {
        let (ada, item) = (ada.clone(), item.clone());
        tokio::spawn(async move { ada.post("/api/v1/apps/inventory/items", &item).await.status })
    });
    let mut statuses = Vec::new();
    for each in tries.collect::<Vec<_>>() {
        statuses.push(each.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[db_test]
async fn lists_filter_sort_and_page(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for n in 0..25 {
        let mut item =
            json!({ "sku": format!("S-{n:02}"), "name": if n % 2 == 0 { "Bolt_8%" } else { "nut" }, "stock": n / 5 });
        if n == 24 {
            item.as_object_mut().unwrap().remove("stock");
        }
        ada.create("inventory/items", item).await;
    }
    let skus = |rows: &[Value]| rows.iter().map(|r| r["data"]["sku"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let list = |query: &'static str| {
        let ada = ada.clone();
        async move { skus(&ada.rows(&format!("/api/v1/apps/inventory/items?{query}")).await) }
    };
    assert_eq!(list("filter[stock]=4&sort=sku").await, ["S-20", "S-21", "S-22", "S-23"]);
    assert_eq!(
        list("filter[stock][gte]=3&filter[name][ilike]=BOLT*&sort=-sku").await,
        ["S-22", "S-20", "S-18", "S-16"]
    );
    assert_eq!(list("filter[stock][null]=true").await, ["S-24"]);
    assert_eq!(list("filter[sku][in]=S-01,S-03,X&sort=sku").await, ["S-01", "S-03"]);
    assert!(list("filter[name][like]=bolt*").await.is_empty(), "like regards case");
    assert_eq!(list("filter[name][like]=Bolt_8%&page[size]=200").await.len(), 13, "_ and % are literal");
    assert!(list("filter[name][like]=B%").await.is_empty());
    assert_eq!(list("filter[stock]=0&filter[sku][nin]=S-00,S-01&sort=sku").await, ["S-02", "S-03", "S-04"]);

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page =
            ada.get(&format!("/api/v1/apps/inventory/items?sort=-stock,sku&page[size]=7{after}")).await.expect(200);
        assert_eq!(page["page"]["size"], 7);
        seen.extend(skus(page["data"].as_array().unwrap()));
        match page["page"]["next"].as_str() {
            Some(next) => after = format!("&page[after]={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    assert_eq!((seen[0].as_str(), seen[24].as_str()), ("S-20", "S-24"), "what has no stock comes last");
}

#[db_test]
async fn a_list_refuses_what_it_does_not_know(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for n in 0..3 {
        ada.create("inventory/items", json!({ "sku": format!("{n}"), "name": "x" })).await;
    }
    let next = ada.get("/api/v1/apps/inventory/items?page[size]=1").await.expect(200)["page"]["next"]
        .as_str()
        .unwrap()
        .to_owned();
    ada.get(&format!("/api/v1/apps/inventory/items?page[after]={next}")).await.expect(200);
    let tampered = format!("{}A", &next[..next.len() - 1]);
    for (query, parameter) in [
        ("filter[colour]=red".to_owned(), "filter[colour]"),
        ("filter[unit_cost_cents]=1".to_owned(), "filter[unit_cost_cents]"),
        ("filter[stock]=many".to_owned(), "filter[stock]"),
        ("filter[stock][near]=1".to_owned(), "filter[stock][near]"),
        ("filter[stock][like]=1*".to_owned(), "filter[stock][like]"),
        ("filter[id]=x".to_owned(), "filter[id]"),
        ("sort=colour".to_owned(), "sort"),
        ("page[size]=all".to_owned(), "page[size]"),
        ("limit=1".to_owned(), "limit"),
        (format!("page[after]={next}&sort=sku"), "page[after]"),
        (format!("page[after]={next}&filter[sku]=1"), "page[after]"),
        (format!("page[after]={tampered}"), "page[after]"),
        ("filter[sku]=1'%20OR%201=1--&filter[x';--]=1".to_owned(), "filter[x';--]"),
    ] {
        let answer = ada.get(&format!("/api/v1/apps/inventory/items?{query}")).await;
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}");
        assert_eq!(answer.problem(400), "bad_parameter");
    }
}

#[db_test]
async fn a_page_of_large_records_is_shorter_and_goes_on_where_it_ended(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let large = "x".repeat(900_000);
    for n in 0..12 {
        ada.create("probe/notes", json!({ "text": format!("{n:02} {large}"), "n": n })).await;
    }
    let first = ada.get("/api/v1/apps/probe/notes?sort=n").await.expect(200);
    let next = first["page"]["next"].as_str().expect("there is more").to_owned();
    let second = ada.get(&format!("/api/v1/apps/probe/notes?sort=n&page[after]={next}")).await.expect(200);
    let numbers = |page: &Value| {
        page["data"].as_array().unwrap().iter().map(|r| r["data"]["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert!(numbers(&first).len() < 12);
    assert_eq!([numbers(&first), numbers(&second)].concat(), (0..12).collect::<Vec<_>>());
    assert!(second["page"]["next"].is_null());
}

#[db_test]
async fn what_no_database_can_hold_is_the_callers_mistake(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let nul = json!({ "sku": "A\0", "name": "x" });
    assert_eq!(ada.post("/api/v1/apps/inventory/items", &nul).await.problem(422), "invalid");
    for query in ["filter[sku]=%00", "filter[created_at][gt]=-20000-01-01T00:00:00Z", "filter[stock]=1e300"] {
        let status = ada.get(&format!("/api/v1/apps/inventory/items?{query}")).await.status;
        assert!(status < 500, "{query}: {status}");
    }
    let path = ada.get("/api/v1/apps/inv%00entory/items").await.status;
    assert!((400..500).contains(&path), "{path}");
}

#[db_test]
async fn a_collection_that_is_not_there_is_not_found(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for path in
        ["/api/v1/apps/inventory/nothing", "/api/v1/apps/crm/contacts", "/api/v1/apps/inventory/items/not-an-id"]
    {
        assert_eq!(ada.get(path).await.problem(404), "not_found");
    }
}

#[db_test]
async fn the_document_of_a_tenant_describes_what_its_plugins_offer(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let bob = host.tenant("bolts").await;
    assert_eq!(host.anonymous().get("/api/v1/tenants/me/openapi.json").await.problem(401), "unauthenticated");
    let document = ada.get("/api/v1/tenants/me/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.keys().all(|path| !path.contains("{plugin}/{") && !path.contains("{plugin}/-")), "nothing of any");
    assert!(paths.contains_key("/api/v1/users"), "beside what every tenant has");
    let list = &paths["/api/v1/apps/inventory/items"]["get"];
    assert_eq!(list["x-needs"], "inventory.items:read");
    let parameters = list["parameters"].as_array().unwrap();
    for name in ["filter[sku]", "filter[stock][gte]", "q", "sort", "page[size]"] {
        assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
    }
    let create = &paths["/api/v1/apps/inventory/items"]["post"]["requestBody"]["content"]["application/json"];
    assert!(create["example"]["sku"].is_string(), "{create:#}");
    let label = &paths["/api/v1/apps/inventory/-/items/{id}/label"]["get"];
    assert_eq!((&label["x-needs"], &label["parameters"][0]["name"]), (&json!("inventory.labels:print"), &json!("id")));
    let ids: Vec<&str> = paths
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "each operation has a name of its own");

    // What the host answers is what the document says.
    ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt", "stock": 5 })).await;
    let page = ada.get("/api/v1/apps/inventory/items").await.expect(200);
    let mut schema = list["responses"]["200"]["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&page), "{:?}", validator.iter_errors(&page).map(|e| e.to_string()).collect::<Vec<_>>());
    let mut wrong = page;
    wrong["data"][0]["data"]["stock"] = json!("five");
    assert!(!validator.is_valid(&wrong), "it says what a record holds");

    let of = |document: &Value| document.to_string().contains("/apps/inventory/");
    assert!(!of(&bob.get("/api/v1/tenants/me/openapi.json").await.expect(200)), "nothing of what it has not enabled");
    ada.delete("/api/v1/installations/inventory").await.expect(204);
    assert!(!of(&ada.get("/api/v1/tenants/me/openapi.json").await.expect(200)), "nor of what it has no more");
}
