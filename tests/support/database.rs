//! A database of a test's own.

use purlin_domain::clock::{Clock, SystemClock};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqliteConnection, query_scalar, raw_sql, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

/// Where a test's host keeps its data. Gone with the test.
pub struct Database {
    /// The data directory, and the embedded database in it.
    pub directory: TempDir,
    /// The PostgreSQL database, where it is one.
    pub url: Option<String>,
    admin: Option<(String, String)>,
}

impl Database {
    /// The embedded one.
    pub fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), url: None, admin: None }
    }

    /// A fresh database on the server under test; none where there is no server.
    pub async fn postgres() -> Option<Self> {
        let server = std::env::var("PURLIN_TEST_POSTGRES_URL")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
        let mut conn = PgConnection::connect(&server).await.ok()?;
        let name = format!("purlin_test_{}", SystemClock.id().simple());
        raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Some(Self { directory: tempfile::tempdir().unwrap(), url: Some(url), admin: Some((server, name)) })
    }

    /// One on a server of the test's own, which outlives it.
    pub fn on(url: &str) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), url: Some(url.to_owned()), admin: None }
    }

    /// With the master key that lies in the directory of another.
    pub fn with_key_of(self, other: &Self) -> Self {
        let key = |database: &Self| database.directory.path().join("master.key");
        std::fs::copy(key(other), key(&self)).unwrap();
        self
    }

    /// The same PostgreSQL database for another host, with a data directory of its own.
    pub fn twin(&self) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), url: self.url.clone(), admin: None }
    }

    /// Reach into the database past the host, as its owner.
    pub async fn execute(&self, sql: &str) {
        match &self.url {
            Some(url) => {
                let mut conn = PgConnection::connect(url).await.unwrap();
                raw_sql(AssertSqlSafe(format!("SET row_security = off; {sql}"))).execute(&mut conn).await.unwrap();
            }
            None => {
                let file = self.directory.path().join("purlin.db");
                let mut conn =
                    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
                raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
            }
        }
    }

    /// Count rows past the host, as its owner.
    pub async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.url {
            Some(url) => {
                let mut conn = PgConnection::connect(url).await.unwrap();
                query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
            None => {
                let file = self.directory.path().join("purlin.db");
                let mut conn =
                    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
                query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
        }
    }

    pub fn is_postgres(&self) -> bool {
        self.url.is_some()
    }

    /// As the store is told of it.
    pub fn config(&self) -> purlin_store::Config {
        let list_timeout = std::time::Duration::from_secs(30);
        match &self.url {
            Some(url) => purlin_store::Config::Postgres {
                url: url.clone(),
                migrate_url: None,
                connections: 4,
                list_timeout,
                allow_superuser: true,
            },
            None => {
                let file = self.directory.path().join("purlin.db");
                purlin_store::Config::Sqlite { file, readers: 2, list_timeout }
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((server, name)) = self.admin.take() else { return };
        // A runtime of its own: this may run while the test's is unwinding.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&server).await?;
                raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).execute(&mut conn).await
            })
        });
        if !matches!(dropped.join(), Ok(Ok(_))) {
            eprintln!("a test database was left behind");
        }
    }
}
