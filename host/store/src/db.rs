//! The database: which one, and how a transaction of it begins.

use std::{path::PathBuf, sync::Arc, time::Duration};

use purlin_domain::id::TenantId;
use sqlx::{Pool, Postgres, Sqlite};

use crate::{
    PlatformTx, Result, StoreError, TenantTx,
    conn::Conn,
    postgres,
    shares::{Share, Shares},
    sqlite::{self, Reader},
};

/// Connections, divided among tenants; what belongs to none is the platform's.
pub type ConnectionShares = Shares<Option<TenantId>>;
/// One connection of a tenant's.
pub(crate) type ConnectionShare = Share<Option<TenantId>>;

/// How long a tenant waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn take(shares: &ConnectionShares, tenant: Option<TenantId>) -> Result<ConnectionShare> {
    shares.take(&tenant, PATIENCE).await.map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))
}

/// Where the data is, and how much of the database the host may use.
#[derive(Clone, Debug)]
pub enum Config {
    /// An embedded database in this file, made when it is missing.
    Sqlite {
        /// The file.
        file: PathBuf,
        /// Connections for reading.
        readers: u32,
        /// How long a statement of a list may take.
        list_timeout: Duration,
    },
    /// A PostgreSQL server.
    Postgres {
        /// Where the host serves from.
        url: String,
        /// Where migrations run, when that takes another role.
        migrate_url: Option<String>,
        /// Connections at most.
        connections: u32,
        /// How long a statement of a list, or another one that reads for a tenant, may take.
        list_timeout: Duration,
        /// Whether the role that signs in may be one that row-level security does not hold: in
        /// development.
        allow_superuser: bool,
    },
}

/// An open database.
#[derive(Clone, Debug)]
pub enum Db {
    /// PostgreSQL, with row-level security.
    Postgres {
        /// Who has how many of the connections.
        shares: ConnectionShares,
        /// What requests and runs use.
        pool: Pool<Postgres>,
        /// How a connection of it reads.
        read: Arc<str>,
        /// What the engine of jobs keeps for itself.
        engine: Pool<Postgres>,
    },
    /// SQLite: one writer, many readers.
    Sqlite {
        /// Who has how many of the connections that read.
        shares: ConnectionShares,
        /// Who writes next.
        turns: ConnectionShares,
        /// The one connection that writes.
        writer: Pool<Sqlite>,
        /// Connections that cannot write.
        readers: Pool<Sqlite>,
        /// How long a statement of a list may take.
        list_timeout: Duration,
    },
}

impl Db {
    /// Open the database and check that it keeps its promises. Migrations must have run.
    pub async fn open(config: &Config) -> Result<Self> {
        match config {
            Config::Sqlite { file, readers, list_timeout } => {
                let shares = Shares::new(*readers as usize);
                let (writer, readers) = sqlite::open(file, *readers).await?;
                Ok(Self::Sqlite { shares, turns: Shares::new(1), writer, readers, list_timeout: *list_timeout })
            }
            Config::Postgres { url, connections, list_timeout, allow_superuser, .. } => {
                postgres::check_sessions(url).await?;
                let pool = postgres::open(url, *connections).await?;
                postgres::check_isolation(&pool, *allow_superuser).await?;
                let shares = Shares::new(*connections as usize);
                let read = postgres::read(*list_timeout).into();
                Ok(Self::Postgres { shares, pool, read, engine: postgres::open_engine(url)? })
            }
        }
    }

    /// The database's name, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgresql",
            Self::Sqlite { .. } => "sqlite",
        }
    }

    /// Whether only this process can use it.
    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    /// Begin a transaction of a tenant, for writing; in PostgreSQL it begins with its first
    /// statement.
    pub async fn write(&self, tenant: TenantId) -> Result<TenantTx> {
        Ok(match self {
            Self::Postgres { shares, pool, .. } => {
                TenantTx::new(tenant, Conn::PostgresToBegin(pool.clone(), shares.clone()), None)
            }
            Self::Sqlite { turns, writer, .. } => {
                let share = take(turns, Some(tenant)).await?;
                TenantTx::new(tenant, Conn::Sqlite(sqlite::begin(writer).await?), Some(share))
            }
        })
    }

    /// Read as a tenant, statement by statement: no transaction is held.
    pub async fn read(&self, tenant: TenantId) -> Result<TenantTx> {
        let (Self::Postgres { shares, .. } | Self::Sqlite { shares, .. }) = self;
        let share = take(shares, Some(tenant)).await?;
        let conn = match self {
            Self::Postgres { pool, read, .. } => {
                Conn::PostgresAuto(postgres::checkout_tenant(pool, read, tenant).await?)
            }
            Self::Sqlite { readers, list_timeout, .. } => {
                Conn::SqliteRead(Reader::new(readers.acquire().await?, *list_timeout))
            }
        };
        Ok(TenantTx::new(tenant, conn, Some(share)))
    }

    /// Begin a transaction that crosses tenants.
    pub async fn platform(&self) -> Result<PlatformTx> {
        Ok(match self {
            Self::Postgres { shares, pool, .. } => {
                let share = take(shares, None).await?;
                PlatformTx::new(Conn::Postgres(postgres::begin_platform(pool).await?), Some(share))
            }
            Self::Sqlite { turns, writer, .. } => {
                let share = take(turns, None).await?;
                PlatformTx::new(Conn::Sqlite(sqlite::begin(writer).await?), Some(share))
            }
        })
    }

    /// Use the database as the engine of jobs: across tenants, with plans that do not depend
    /// on statistics. In PostgreSQL every statement is a transaction by itself, in SQLite all
    /// of them are one.
    pub async fn engine(&self) -> Result<PlatformTx> {
        match self {
            Self::Postgres { engine, .. } => {
                Ok(PlatformTx::new(Conn::PostgresAuto(postgres::checkout_engine(engine).await?), None))
            }
            Self::Sqlite { .. } => self.platform().await,
        }
    }

    /// Read across tenants.
    pub async fn platform_read(&self) -> Result<PlatformTx> {
        match self {
            Self::Postgres { .. } => self.platform().await,
            Self::Sqlite { shares, readers, list_timeout, .. } => {
                let share = take(shares, None).await?;
                let reader = Reader::new(readers.acquire().await?, *list_timeout);
                Ok(PlatformTx::new(Conn::SqliteRead(reader), Some(share)))
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.platform_read().await?;
        tx.fetch_one::<(i64,)>("SELECT count(*) FROM permissions WHERE resource = '*'", Vec::new()).await?;
        Ok(())
    }

    /// Prepare what time brings: the partitions of months and weeks to come.
    pub async fn make_partitions(&self, now: purlin_domain::Timestamp) -> Result<()> {
        match self {
            Self::Postgres { .. } => postgres::make_partitions(self.platform().await?, now).await,
            Self::Sqlite { .. } => Ok(()),
        }
    }

    /// Drop the months of the audit log that ended a month ago and are empty: what was in
    /// them was deleted when nobody had to keep it any more.
    pub async fn drop_audit_partitions(&self, now: purlin_domain::Timestamp) -> Result<()> {
        match self {
            Self::Postgres { .. } => postgres::drop_audit_partitions(self.platform().await?, now).await,
            Self::Sqlite { .. } => Ok(()),
        }
    }

    /// Forget jobs that ended before this; how many, where they are counted.
    pub async fn drop_job_history(&self, cutoff: purlin_domain::Timestamp) -> Result<u64> {
        match self {
            Self::Postgres { .. } => {
                postgres::drop_job_partitions(self.platform().await?, cutoff).await?;
                Ok(0)
            }
            Self::Sqlite { .. } => {
                let mut tx = self.platform().await?;
                let count = crate::jobs::delete_finished_before(&mut tx, cutoff).await?;
                tx.commit().await?;
                Ok(count)
            }
        }
    }

    /// Close every connection, waiting for those in use.
    pub async fn close(&self) {
        match self {
            Self::Postgres { pool, engine, .. } => {
                engine.close().await;
                pool.close().await;
            }
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}
