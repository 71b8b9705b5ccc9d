//! Migrations: up, down and status, the same on both databases, safe to repeat.

use std::path::Path;

use purlin_domain::Timestamp;
use sqlx::{Connection, PgConnection, SqliteConnection, migrate::Migrator};

use crate::{Config, Result, sqlite as embedded};

fn postgres() -> Migrator {
    sqlx::migrate!("../../migrations/postgres")
}

pub(crate) fn sqlite() -> Migrator {
    sqlx::migrate!("../../migrations/sqlite")
}

/// A migration, and when it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// When it was applied; none while it is pending.
    pub applied_at: Option<Timestamp>,
}

/// Apply what is pending. What a newer host has applied is left alone, so that an older one can be
/// started on a database that is ahead of it, as while hosts are replaced one by one.
pub async fn up(config: &Config) -> Result<()> {
    match config {
        Config::Postgres { url, migrate_url, .. } => {
            let mut conn = PgConnection::connect(migrate_url.as_ref().unwrap_or(url)).await?;
            postgres().set_ignore_missing(true).run(&mut conn).await?;
            Ok(conn.close().await?)
        }
        Config::Sqlite { file, .. } => {
            let mut conn = sqlite_connection(file).await?;
            sqlite().set_ignore_missing(true).run(&mut conn).await?;
            Ok(conn.close().await?)
        }
    }
}

/// Take back every migration above `target`; 0 takes back all, none the last one.
pub async fn down(config: &Config, target: Option<i64>) -> Result<()> {
    let target = match target {
        Some(target) => target,
        None => {
            let all = status(config).await?;
            all.iter().rev().filter(|m| m.applied_at.is_some()).nth(1).map_or(0, |m| m.version)
        }
    };
    match config {
        Config::Postgres { url, migrate_url, .. } => {
            let mut conn = PgConnection::connect(migrate_url.as_ref().unwrap_or(url)).await?;
            postgres().undo(&mut conn, target).await?;
            Ok(conn.close().await?)
        }
        Config::Sqlite { file, .. } => {
            let mut conn = sqlite_connection(file).await?;
            sqlite().undo(&mut conn, target).await?;
            Ok(conn.close().await?)
        }
    }
}

/// Every migration, applied or pending.
pub async fn status(config: &Config) -> Result<Vec<Migration>> {
    let (migrator, applied) = match config {
        Config::Postgres { url, migrate_url, .. } => {
            let mut conn = PgConnection::connect(migrate_url.as_ref().unwrap_or(url)).await?;
            let known: bool =
                sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut conn).await?;
            let rows = if known { sqlx::query_as(APPLIED).fetch_all(&mut conn).await? } else { Vec::new() };
            (postgres(), rows)
        }
        Config::Sqlite { file, .. } => {
            let mut conn = sqlite_connection(file).await?;
            let known: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
                .fetch_one(&mut conn)
                .await?;
            let rows = if known > 0 { sqlx::query_as(APPLIED).fetch_all(&mut conn).await? } else { Vec::new() };
            (sqlite(), rows)
        }
    };
    let find = |version: i64| applied.iter().find(|(v, _): &&(i64, Timestamp)| *v == version).map(|(_, at)| *at);
    Ok(migrator
        .iter()
        .filter(|m| m.migration_type.is_up_migration())
        .map(|m| Migration { version: m.version, name: m.description.to_string(), applied_at: find(m.version) })
        .collect())
}

const APPLIED: &str = "SELECT version, installed_on FROM _sqlx_migrations WHERE success ORDER BY version";

async fn sqlite_connection(file: &Path) -> Result<SqliteConnection> {
    // A table is changed by making it anew, which must not touch what refers to it.
    Ok(SqliteConnection::connect_with(&embedded::options(file).foreign_keys(false)).await?)
}
