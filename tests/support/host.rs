//! A real host: the binary, started on a free port over a test's database.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use super::{Client, Database, Mailbox, component, target};

pub const OPERATOR_PASSWORD: &str = "the operator's password";

/// How a host is started.
#[derive(Clone, Default)]
pub struct Options {
    environment: Vec<(String, String)>,
}

impl Options {
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A running host.
pub struct Host {
    pub database: Database,
    pub base: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    options: Options,
}

impl Host {
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, Options::default()).await
    }

    pub async fn start_with(database: Database, options: Options) -> Self {
        let (child, base, log) = spawn(&database, &options).await;
        Self { database, base, child, log, options }
    }

    /// The command that would start such a host; for runs that must fail.
    pub fn command(database: &Database, options: &Options, arguments: &[&str]) -> Command {
        let binary = std::env::var("PURLIN_TEST_BINARY").map_or_else(|_| target().join("debug/purlin"), PathBuf::from);
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .env("PURLIN_LISTEN", "127.0.0.1:0")
            .env("PURLIN_DATA_DIR", database.directory.path())
            .env("PURLIN_CACHE_DIR", target().join("test-cache"))
            .env("PURLIN_OPERATOR_PASSWORD", OPERATOR_PASSWORD)
            .env("PURLIN_DATABASE_CONNECTIONS", "8")
            .env("PURLIN_ALLOW_SUPERUSER", "true")
            .env("PURLIN_LEASE_SECONDS", "3")
            .env("PURLIN_POLL_MS", "100")
            .env("PURLIN_AUTH_REQUESTS_PER_MINUTE", "100000")
            .env("PURLIN_LOG", "info,purlin=debug")
            .envs(database.url.iter().map(|url| ("DATABASE_URL", url)))
            // Coverage: a host's counters are kept where the tests' are.
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .envs(options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Nobody signed in.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.base)
    }

    /// Whoever runs the platform.
    pub async fn operator(&self) -> Client {
        let login = json!({ "email": "operator@purlin.local", "password": OPERATOR_PASSWORD });
        self.anonymous().signed_in("/api/v1/auth/login", &login, 200).await
    }

    /// A new tenant of this slug, and its administrator.
    pub async fn tenant(&self, slug: &str) -> Client {
        let registration = json!({
            "tenant": { "name": slug, "slug": slug },
            "email": format!("admin@{slug}.example"),
            "password": "correct horse battery",
        });
        self.anonymous().signed_in("/api/v1/auth/register", &registration, 201).await
    }

    /// Another user of the tenant, with these of its system roles, signed in.
    pub async fn member(&self, admin: &Client, email: &str, roles: &[&str]) -> Client {
        let all = admin.rows("/api/v1/roles").await;
        let id = |name: &&str| all.iter().find(|role| role["name"] == **name).unwrap()["id"].clone();
        let ids: Vec<_> = roles.iter().map(id).collect();
        let new = json!({ "email": email, "password": "correct horse battery", "role_ids": ids });
        admin.post("/api/v1/users", &new).await.expect(201);
        let slug = &admin.me["tenant"]["slug"];
        let login = json!({ "email": email, "password": "correct horse battery", "tenant": slug });
        self.anonymous().signed_in("/api/v1/auth/login", &login, 200).await
    }

    /// Suspend a tenant, as whoever runs the platform.
    pub async fn suspend(&self, tenant: &Client) {
        let id = tenant.me["tenant"]["id"].as_str().unwrap();
        self.operator().await.post(&format!("/api/v1/tenants/{id}/suspend"), &json!({})).await.expect(200);
    }

    /// Mails that the host wrote to its folder.
    pub fn mailbox(&self) -> Mailbox {
        Mailbox::of(self.database.directory.path())
    }

    /// Upload these plugins.
    pub async fn upload(&self, plugins: &[&str]) {
        let operator = self.operator().await;
        for plugin in plugins {
            operator.upload(component(plugin)).await.expect(201);
        }
    }

    /// A new tenant with this plugin uploaded and enabled.
    pub async fn tenant_with(&self, slug: &str, plugin: &str) -> Client {
        self.upload(&[plugin]).await;
        let tenant = self.tenant(slug).await;
        tenant.enable(plugin).await;
        tenant
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// End the process as a power cut would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }

    /// Whether the process ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Send it a signal, by name.
    pub fn signal(&self, name: &str) {
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
    }

    /// Start again over the same data.
    pub async fn restart(&mut self, options: Options) {
        self.options = options;
        (self.child, self.base, self.log) = spawn(&self.database, &self.options).await;
    }

    /// Ask it to stop, and wait; whether it ended well.
    pub async fn stop(&mut self) -> bool {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the host does not stop");
    }

    /// Close the reading end of its log, with the next line it writes.
    pub fn stop_reading_its_log(&mut self) {
        self.log = Arc::default();
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

async fn spawn(database: &Database, options: &Options) -> (Child, String, Arc<Mutex<Vec<String>>>) {
    let mut child =
        Host::command(database, options, &["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (lines, output) = (Arc::clone(&log), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if Arc::strong_count(&lines) == 1 {
                return;
            }
            lines.lock().unwrap().push(line);
        }
    });
    for _ in 0..600 {
        let found = log.lock().unwrap().iter().find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.chars().take_while(|c| !c.is_whitespace() && *c != '\u{1b}').collect::<String>())
        });
        if let Some(base) = found {
            return (child, base, log);
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the host ended: {status}\n{}", log.lock().unwrap().join("\n"));
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the host does not start\n{}", log.lock().unwrap().join("\n"));
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the host's log ---\n{}", self.log());
        }
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
