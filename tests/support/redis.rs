//! A Redis of a test's own, that may be flushed and stopped.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

pub struct Redis {
    pub url: String,
    child: Child,
    _directory: TempDir,
}

impl Redis {
    /// None where there is no `redis-server`.
    pub async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "yes",
                "--dir",
            ])
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { url: format!("redis://127.0.0.1:{port}"), child, _directory: directory };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(redis);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("redis-server does not start");
    }
}

impl Redis {
    /// A command, whose answer nobody waits for.
    pub async fn say(&self, command: &str) {
        let port = self.url.rsplit(':').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
