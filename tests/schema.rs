//! docs/database-schema.md holds the schema as the migrations make it.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use purlin_store::migrate;
use sqlx::{Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{Database, skipped};

const BEGIN: &str = "<!-- generated: cargo xtask schema -->\n";
const END: &str = "<!-- end of what is generated -->";

/// A column: its type, whether it may be null, whether it is part of the primary key.
type Columns = Vec<(String, String, bool, bool)>;

async fn tables(conn: &mut PgConnection) -> BTreeMap<String, Columns> {
    let rows = sqlx::query(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
            EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey))
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname <> '_sqlx_migrations' AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY c.relname, a.attnum",
    )
    .fetch_all(conn)
    .await
    .unwrap();
    let mut all: BTreeMap<String, Columns> = BTreeMap::new();
    for row in rows {
        all.entry(row.get(0)).or_default().push((row.get(1), row.get(2), row.get(3), row.get(4)));
    }
    all
}

async fn references(conn: &mut PgConnection) -> Vec<(String, String, String)> {
    let rows = sqlx::query(
        "SELECT t.relname::text, f.relname::text,
            (SELECT string_agg(a.attname, ', ' ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum)
         FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid
         WHERE c.contype = 'f' AND t.relnamespace = current_schema()::regnamespace AND NOT t.relispartition AND c.conparentid = 0
         ORDER BY 1, 2, 3",
    )
    .fetch_all(conn)
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn diagram(tables: &BTreeMap<String, Columns>, references: &[(String, String, String)]) -> String {
    let mut text = String::from("```mermaid\nerDiagram\n");
    for (from, to, columns) in references {
        writeln!(text, "    {to} ||--o{{ {from} : \"{columns}\"").unwrap();
    }
    for (table, columns) in tables {
        writeln!(text, "    {table} {{").unwrap();
        for (name, kind, nullable, key) in columns {
            let kind = kind.replace("timestamp with time zone", "timestamptz").replace(' ', "_");
            let key = if *key { " PK" } else { "" };
            let null = if *nullable { " \"null\"" } else { "" };
            writeln!(text, "        {kind} {name}{key}{null}").unwrap();
        }
        writeln!(text, "    }}").unwrap();
    }
    text + "```\n"
}

#[tokio::test]
async fn the_document_of_the_schema_is_what_the_migrations_make() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    migrate::up(&database.config()).await.unwrap();
    let mut conn = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    let drawn = diagram(&tables(&mut conn).await, &references(&mut conn).await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/database-schema.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has a place for the diagram");
    let (held, after) = rest.split_once(END).expect("the place has an end");
    if std::env::var("PURLIN_WRITE_DOCS").is_ok() {
        fs::write(&path, format!("{before}{BEGIN}{drawn}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(held, drawn, "docs/database-schema.md is out of date: run `cargo xtask schema`");
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    migrate::up(&database.config()).await.unwrap();
    let mut conn = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    let embedded = Database::sqlite();
    migrate::up(&embedded.config()).await.unwrap();
    let file = embedded.directory.path().join("purlin.db");
    let mut other = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY name",
    )
    .fetch_all(&mut other)
    .await
    .unwrap();
    let tables = tables(&mut conn).await;
    assert_eq!(names, tables.keys().cloned().collect::<Vec<_>>());
    for (table, columns) in tables {
        let mut there: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
            .bind(&table)
            .fetch_all(&mut other)
            .await
            .unwrap();
        let mut here: Vec<String> = columns.into_iter().map(|(name, ..)| name).collect();
        // SQLite writes one after the other: there the row itself says where an event stands.
        here.retain(|column| (table.as_str(), column.as_str()) != ("events", "position"));
        here.sort();
        there.sort();
        assert_eq!(there, here, "{table}");
    }
}
