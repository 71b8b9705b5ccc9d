//! `cargo xtask demo`: a tenant's request becomes an event, the event reaches a sandboxed
//! plugin, and the plugin's effects land, audited, in one transaction.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    client::{Client, text},
    private, settings,
};

const WAIT_TRIES: u32 = 150;
const WAIT_PAUSE: Duration = Duration::from_millis(200);

pub fn run() -> Result<()> {
    let settings = settings::read()?;
    let mut client = Client::new(&settings.address);
    let health = client
        .get("/health")
        .with_context(|| format!("no host answers at {}; run `cargo xtask up` first", settings.address))?;
    println!(
        "The host at http://{} is up: version {}, {}.",
        settings.address, health.body["version"], health.body["checks"]["database_kind"]
    );

    let (tenant, slug) = register(&mut client)?;
    enable(&client)?;
    let item = create_item(&client)?;
    book_until_low(&client, &item)?;
    let suggestion = wait_for_suggestion(&client)?;
    show_item(&client, &item)?;
    println!("   suggestion: order {} of {}", suggestion["data"]["quantity"], suggestion["data"]["sku"]);
    show(&client, 7, "Events, oldest first", "/api/v1/events?sort=created_at", |e| {
        format!("{:<36} depth {}", plain(&e["type"]), e["depth"])
    })?;
    show(&client, 8, "Jobs", "/api/v1/jobs?sort=id", |j| {
        format!("{:<28} {:<10} attempt {}", plain(&j["kind"]), plain(&j["state"]), j["attempt"])
    })?;
    show(&client, 9, "Audit trail", "/api/v1/audit-logs?sort=created_at", |a| {
        let on_behalf = a["on_behalf_of"].as_str().map_or(String::new(), |_| " on behalf of the user".to_owned());
        format!("{:<32} by {}{on_behalf}", plain(&a["action"]), plain(&a["actor_kind"]))
    })?;
    show(&client, 10, "The plugin's log", "/api/v1/installations/inventory/logs?sort=created_at", |l| {
        format!("{:<6} {}", plain(&l["level"]), plain(&l["message"]))
    })?;
    value_stock(&client)?;
    println!("\nThe whole story worked, in tenant {slug} ({tenant}).");
    Ok(())
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn register(client: &mut Client) -> Result<(String, String)> {
    let suffix: String = private::random()?.chars().take(8).collect();
    let slug = format!("acme-{suffix}");
    println!("\n1. Register a tenant, {slug}, and its first administrator");
    let registration = json!({
        "tenant": { "name": "Acme Tools", "slug": slug },
        "email": format!("ada@{slug}.example"),
        "password": private::random()?,
        "first_name": "Ada",
    });
    let signed_in = client.post("/api/v1/auth/register", &registration)?.expect(201)?;
    client.sign_in(&text(&signed_in, "/access_token")?);
    println!("   signed in as {}", text(&signed_in, "/user/email")?);
    Ok((text(&signed_in, "/tenant/id")?, slug))
}

fn enable(client: &Client) -> Result<()> {
    println!("\n2. Enable inventory, granting what it asks for");
    let installation =
        client.post("/api/v1/installations", &json!({ "plugin": "inventory", "grants": "all" }))?.expect(201)?;
    println!("   version {}, granted {}", text(&installation, "/version")?, installation["grants"]);
    Ok(())
}

fn create_item(client: &Client) -> Result<String> {
    println!("\n3. Create items");
    let create = |item: Value| client.post("/api/v1/apps/inventory/items", &item)?.expect(201);
    create(json!({ "sku": "NUT-8", "name": "Nut M8", "stock": 500, "reorder_point": 100, "unit_cost_cents": 3 }))?;
    let bolt =
        create(json!({ "sku": "BOLT-8", "name": "Bolt M8", "stock": 40, "reorder_point": 10, "unit_cost_cents": 12 }))?;
    println!("   BOLT-8: 40 on stock, reorder under 10");
    let twice = client.post("/api/v1/apps/inventory/items", &json!({ "sku": "BOLT-8", "name": "Another" }))?;
    ensure!(twice.status == 409, "a second BOLT-8 was taken: {}", twice.status);
    println!("   a second BOLT-8 is refused: {}", text(&twice.body, "/detail")?);
    text(&bolt, "/id")
}

fn book_until_low(client: &Client, item: &str) -> Result<()> {
    println!("\n4. Book movements until stock is low");
    for quantity in [-12, -12, -12] {
        let movement = json!({ "item_id": item, "quantity": quantity, "reason": "sold" });
        client.post("/api/v1/apps/inventory/movements", &movement)?.expect(201)?;
        println!("   booked {quantity}");
    }
    Ok(())
}

fn wait_for_suggestion(client: &Client) -> Result<Value> {
    println!("\n5. Wait for the handler and the job");
    for _ in 0..WAIT_TRIES {
        let suggestions = client.get("/api/v1/apps/inventory/suggestions")?.expect(200)?;
        let open = client.get("/api/v1/jobs?filter[state][in]=ready,running")?.expect(200)?;
        if let (Some(suggestion), Some([])) = (suggestions["data"].get(0), open["data"].as_array().map(Vec::as_slice)) {
            println!("   done");
            return Ok(suggestion.clone());
        }
        sleep(WAIT_PAUSE);
    }
    let jobs = client.get("/api/v1/jobs")?;
    bail!("no suggestion appeared; the jobs are {:#}", jobs.body)
}

fn show_item(client: &Client, item: &str) -> Result<()> {
    println!("\n6. The stock and the suggestion");
    let item = client.get(&format!("/api/v1/apps/inventory/items/{item}"))?.expect(200)?;
    println!("   BOLT-8: {} on stock (version {})", item["data"]["stock"], item["version"]);
    ensure!(item["data"]["stock"] == 4, "40 less 3 × 12 should be 4, not {}", item["data"]["stock"]);
    Ok(())
}

fn show(client: &Client, number: u32, title: &str, path: &str, line: impl Fn(&Value) -> String) -> Result<()> {
    println!("\n{number}. {title}");
    let page = client.get(path)?.expect(200)?;
    let rows = page["data"].as_array().context("a list has no data")?;
    ensure!(!rows.is_empty(), "{path} is empty");
    rows.iter().for_each(|row| println!("   {}", line(row)));
    Ok(())
}

fn value_stock(client: &Client) -> Result<()> {
    println!("\n11. Run the valuation job");
    let job = client.post("/api/v1/jobs", &json!({ "kind": "inventory.valuation" }))?.expect(202)?;
    let id = text(&job, "/id")?;
    for _ in 0..WAIT_TRIES {
        let job = client.get(&format!("/api/v1/jobs/{id}"))?.expect(200)?;
        match plain(&job["state"]) {
            "succeeded" => {
                println!("   all stock is worth {} cents", job["result"]["total_cents"]);
                ensure!(job["result"]["total_cents"] == 500 * 3 + 4 * 12, "that is not the sum");
                return Ok(());
            }
            "dead" => bail!("the job is a dead letter: {}", job["last_error"]),
            _ => sleep(WAIT_PAUSE),
        }
    }
    bail!("the valuation did not end")
}
