//! What can go wrong in the store. "Not found" is not among it: that is `None`.

/// The outcome of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique key is taken; the constraint, or what SQLite says of it.
    #[error("unique key taken: {0}")]
    Taken(String),
    /// Another transaction got in the way; the same work may be tried again.
    #[error("lost a race with another transaction")]
    Race(#[source] sqlx::Error),
    /// The database cannot be reached, is full, or has no free connection.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// A statement took longer than it may.
    #[error("a statement took longer than it may")]
    TooSlow(#[source] sqlx::Error),
    /// A value that the database cannot hold, such as text with a NUL in it.
    #[error("the database cannot hold this value: {0}")]
    Unacceptable(String),
    /// The database is not set up as the host needs it; says what to do.
    #[error("{0}")]
    Setup(String),
    /// Migrations could not be applied.
    #[error("migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Anything else: a defect.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
    /// The bus between hosts failed.
    #[error("bus error: {0}")]
    Bus(#[from] redis::RedisError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                other => Self::Database(other),
            };
        };
        if database.is_unique_violation() {
            let name = database.constraint().map_or_else(|| database.message().to_owned(), str::to_owned);
            return Self::Taken(name);
        }
        // Whoever checked it found what is referred to, or nobody who refers.
        if database.is_foreign_key_violation() {
            return Self::Race(error);
        }
        match database.code().as_deref().map(classify) {
            Some(Class::Race) => Self::Race(error),
            Some(Class::Unavailable) => Self::Unavailable(error),
            Some(Class::TooSlow) => Self::TooSlow(error),
            Some(Class::Unacceptable) => Self::Unacceptable(database.message().to_owned()),
            Some(Class::Other) | None => Self::Database(error),
        }
    }
}

enum Class {
    Race,
    Unavailable,
    TooSlow,
    Unacceptable,
    Other,
}

/// SQLSTATE codes of PostgreSQL (five characters) and result codes of SQLite (numbers).
fn classify(code: &str) -> Class {
    match code {
        "40001" | "40P01" | "55P03" => Class::Race,
        // SQLITE_BUSY, LOCKED, NOMEM, IOERR, FULL, and their extended forms (low byte).
        number if number.parse::<u32>().is_ok_and(|n| number.len() != 5 && matches!(n & 0xff, 5 | 6 | 7 | 10 | 13)) => {
            Class::Unavailable
        }
        // Canceled by its timeout, or SQLITE_INTERRUPT.
        "57014" | "9" => Class::TooSlow,
        // The server was demoted to a standby, and more that another connection may not meet.
        "25006" | "25P03" | "53100" | "53200" | "53300" | "57P01" | "57P02" | "57P03" => Class::Unavailable,
        // Data exceptions: a NUL in text, a number or a time out of range.
        value if value.len() == 5 && value.starts_with("22") => Class::Unacceptable,
        connection if connection.len() == 5 && connection.starts_with("08") => Class::Unavailable,
        _ => Class::Other,
    }
}
