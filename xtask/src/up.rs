//! `cargo xtask up`: from a checkout to a running host with a tenant to try.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    client::{Client, text},
    plugins, private,
    settings::{self, Settings},
    shell,
};

const START_TRIES: u32 = 300;
const START_PAUSE: Duration = Duration::from_millis(100);

pub fn run(fresh: bool, release: bool) -> Result<()> {
    let settings = settings::read()?;
    let components = plugins::build(&plugins::all()?)?;
    let host = build_host(release)?;
    if fresh {
        start_over(&host, &settings)?;
    }
    shell::step("starting the host");
    let mut serve = Command::new(&host);
    serve.arg("serve");
    if settings.database.as_deref().is_some_and(is_local) {
        serve.env("PURLIN_ALLOW_SUPERUSER", "true");
    }
    let mut child = Stopped(serve.spawn().with_context(|| host.display().to_string())?);
    let mut client = Client::new(&settings.address);
    wait_until_it_answers(&client, &mut child.0)?;
    sign_in_as_operator(&mut client, &settings)?;
    for (name, component) in &components {
        upload(&client, name, component)?;
    }
    let demo = demo_tenant(&settings)?;
    tell(&settings, &demo);
    let status = child.0.wait()?;
    if status.success() { Ok(()) } else { bail!("the host ended: {status}") }
}

/// Whether a database is on this machine, where development happens.
fn is_local(url: &str) -> bool {
    ["@localhost", "@127.0.0.1", "@[::1]", "//localhost", "//127.0.0.1"].iter().any(|host| url.contains(host))
}

/// The host, stopped with us however we end.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            shell::succeeds(Command::new("kill").arg(self.0.id().to_string()));
            drop(self.0.wait());
        }
    }
}

fn build_host(release: bool) -> Result<PathBuf> {
    shell::step("building the host (a first build takes some minutes)");
    let mut cargo = shell::cargo();
    cargo.args(["build", "--package", "purlin"]);
    if release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    Ok(shell::target().join(if release { "release" } else { "debug" }).join("purlin"))
}

fn start_over(host: &Path, settings: &Settings) -> Result<()> {
    shell::step("starting over: forgetting all data");
    if settings.database.is_some() {
        shell::run(Command::new(host).args(["migrate", "down", "--to", "0"]))?;
    }
    match fs::remove_dir_all(&settings.data_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(settings.data_dir.display().to_string())
        }
        _ => Ok(()),
    }
}

fn wait_until_it_answers(client: &Client, child: &mut Child) -> Result<()> {
    for _ in 0..START_TRIES {
        if let Some(status) = child.try_wait()? {
            bail!("the host did not start ({status}); its last words are above");
        }
        if client.get("/health").is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        sleep(START_PAUSE);
    }
    bail!("the host does not answer")
}

fn sign_in_as_operator(client: &mut Client, settings: &Settings) -> Result<()> {
    let file = settings.data_dir.join("operator-password");
    let password = match &settings.operator_password {
        Some(password) => password.clone(),
        None => fs::read_to_string(&file).with_context(|| {
            format!(
                "{}: this database already has an operator, made with another data directory; \
                 set PURLIN_OPERATOR_PASSWORD to that operator's password, or start over with --fresh",
                file.display()
            )
        })?,
    };
    let login = json!({ "email": settings.operator_email, "password": password.trim(), "tenant": "operators" });
    let signed_in = client.post("/api/v1/auth/login", &login)?.expect(200).context("signing in as operator")?;
    client.sign_in(&text(&signed_in, "/access_token")?);
    Ok(())
}

fn upload(client: &Client, name: &str, component: &Path) -> Result<()> {
    let bytes = fs::read(component).with_context(|| component.display().to_string())?;
    let answer = client.upload("/api/v1/plugins", &bytes)?;
    match answer.status {
        201 => println!(
            "uploaded {name} ({} KiB, compiled in {} ms)",
            bytes.len() / 1024,
            answer.body["report"]["compile_ms"]
        ),
        200 => println!("{name} is there already"),
        409 => println!("{name}: {} (or start over with --fresh)", text(&answer.body, "/detail")?),
        _ => drop(answer.expect(201).with_context(|| format!("uploading {name}"))?),
    }
    Ok(())
}

/// The demo tenant, made at first, found again later.
fn demo_tenant(settings: &Settings) -> Result<Value> {
    let file = settings.data_dir.join("demo.json");
    if let Ok(known) = fs::read_to_string(&file) {
        return Ok(serde_json::from_str(&known)?);
    }
    let demo = json!({ "tenant": "demo", "email": "admin@demo.example", "password": private::random()? });
    let registration =
        json!({ "tenant": { "name": "Demo", "slug": "demo" }, "email": demo["email"], "password": demo["password"] });
    let mut client = Client::new(&settings.address);
    let answer = client.post("/api/v1/auth/register", &registration)?;
    if answer.status == 409 {
        println!(
            "this database already has a demo tenant, made with another data directory; its password is in demo.json there"
        );
        return Ok(json!({ "tenant": "demo", "email": "admin@demo.example", "password": "(in the other directory)" }));
    }
    let signed_in = answer.expect(201).context("making the demo tenant")?;
    client.sign_in(&text(&signed_in, "/access_token")?);
    client
        .post("/api/v1/installations", &json!({ "plugin": "inventory", "grants": "all" }))?
        .expect(201)
        .context("enabling inventory")?;
    private::write(&file, &demo.to_string())?;
    Ok(demo)
}

fn tell(settings: &Settings, demo: &Value) {
    let word = |key: &str| demo[key].as_str().unwrap_or_default();
    let base = format!("http://{}", settings.address);
    let database = settings.database.as_ref().map_or("SQLite, embedded", |_| "PostgreSQL");
    let operator_password = match settings.operator_password {
        Some(_) => "from your settings".to_owned(),
        None => format!("in {}", settings.data_dir.join("operator-password").display()),
    };
    println!(
        r#"
Purlin is running.

  Address    {base}
  Database   {database}; data in {data}
  Operator   {operator}, password {operator_password}
  Tenant     {slug}: {email}, password {password}
             (inventory is enabled)

Three things to try, in another terminal:

  1. The whole story, step by step:
       cargo xtask demo

  2. Sign in, and keep the token:
       TOKEN=$(curl -s {base}/api/v1/auth/login -H 'content-type: application/json' \
         -d '{{"tenant":"{slug}","email":"{email}","password":"{password}"}}' \
         | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

  3. Create an item and list the items:
       curl -s {base}/api/v1/apps/inventory/items -H "authorization: Bearer $TOKEN" \
         -H 'content-type: application/json' -d '{{"sku":"BOLT-8","name":"Bolt M8","stock":40,"reorder_point":10}}'
       curl -s {base}/api/v1/apps/inventory/items -H "authorization: Bearer $TOKEN"

Ctrl-C stops it; the data stays. `cargo xtask up --fresh` starts over."#,
        data = settings.data_dir.display(),
        operator = settings.operator_email,
        slug = word("tenant"),
        email = word("email"),
        password = word("password"),
    );
}
