//! A host of our own, on a free port, ended with us.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    client::{Client, text},
    shell,
};

const OPERATOR_PASSWORD: &str = "the operator's password";

pub struct Host {
    pub address: String,
    /// From starting the process to the first answered request.
    pub start_time: Duration,
    child: Child,
}

impl Host {
    /// Start this binary over this data directory; its log goes to a file there.
    pub fn start(binary: &Path, directory: &Path, environment: &[(&str, String)]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        std::fs::create_dir_all(directory)?;
        let log = File::create(directory.join("host.log"))?;
        let client = Client::new(&address);
        let began = Instant::now();
        let mut child = Command::new(binary)
            .arg("serve")
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env("PURLIN_LISTEN", &address)
            .env("PURLIN_DATA_DIR", directory)
            .env("PURLIN_OPERATOR_PASSWORD", OPERATOR_PASSWORD)
            .env("PURLIN_ALLOW_SUPERUSER", "true")
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stderr(Stdio::from(log))
            .spawn()
            .with_context(|| binary.display().to_string())?;
        for _ in 0..10_000 {
            if client.get("/health").is_ok_and(|answer| answer.status == 200) {
                return Ok(Self { address, start_time: began.elapsed(), child });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the host ended: {status}; see {}", directory.join("host.log").display());
            }
            sleep(Duration::from_millis(2));
        }
        bail!("the host does not answer")
    }

    /// Whoever runs the platform.
    pub fn operator(&self) -> Result<Client> {
        let mut client = Client::new(&self.address);
        let login = json!({ "email": "operator@purlin.local", "password": OPERATOR_PASSWORD });
        client.sign_in(&text(&client.post("/api/v1/auth/login", &login)?.expect(200)?, "/access_token")?);
        Ok(client)
    }

    /// A new tenant: its administrator, and what registering answered.
    pub fn tenant(&self, slug: &str) -> Result<(Client, Value)> {
        let mut client = Client::new(&self.address);
        let registration = json!({
            "tenant": { "name": slug, "slug": slug }, "email": format!("admin@{slug}.example"), "password": "correct horse battery",
        });
        let registered = client.post("/api/v1/auth/register", &registration)?.expect(201)?;
        client.sign_in(&text(&registered, "/access_token")?);
        Ok((client, registered))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ask it to stop, and wait; fail if it had ended before.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the host ended by itself: {status}");
        }
        shell::run(Command::new("kill").arg(self.child.id().to_string()))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            shell::succeeds(Command::new("kill").arg(self.child.id().to_string()));
            drop(self.child.wait());
        }
    }
}
