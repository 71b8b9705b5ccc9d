//! The store by itself: migrations.

use purlin_store::{Db, StoreError, migrate};
use purlin_test_macros::db_test;

use crate::support::{Database, Host, Options};

#[db_test]
async fn migrations_go_up_down_and_up_again_and_repeat_without_effect(database: Database) {
    let config = database.config();
    let applied = async || migrate::status(&config).await.unwrap().iter().filter(|m| m.applied_at.is_some()).count();
    assert_eq!(applied().await, 0);
    migrate::up(&config).await.unwrap();
    let all = migrate::status(&config).await.unwrap();
    assert!(all.iter().all(|m| m.applied_at.is_some()) && !all.is_empty());
    migrate::up(&config).await.unwrap();
    assert_eq!(migrate::status(&config).await.unwrap(), all, "a second run changes nothing");
    Db::open(&config).await.unwrap().close().await;
    migrate::down(&config, Some(0)).await.unwrap();
    migrate::down(&config, Some(0)).await.unwrap();
    assert_eq!(applied().await, 0);
    migrate::up(&config).await.unwrap();
    Db::open(&config).await.unwrap().close().await;
}

#[db_test]
async fn an_older_host_starts_on_a_schema_that_is_ahead_of_it(database: Database) {
    let config = database.config();
    migrate::up(&config).await.unwrap();
    let success = if database.is_postgres() { "true" } else { "1" };
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         SELECT 9999, 'of a newer host', installed_on, {success}, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    database.execute(&newer.replace("{success}", success)).await;
    migrate::up(&config).await.unwrap();
    assert!(migrate::down(&config, Some(0)).await.is_err(), "what it does not know it cannot take back");
    assert!(migrate::status(&config).await.unwrap().iter().all(|m| m.applied_at.is_some()));
}

#[db_test]
async fn migrations_go_down_and_up_on_a_database_full_of_data(database: Database) {
    let mut host = Host::start(database).await;
    host.tenant_with("acme", "inventory")
        .await
        .create("inventory/items", serde_json::json!({ "sku": "A", "name": "x" }))
        .await;
    assert!(host.stop().await);
    migrate::down(&host.database.config(), Some(0)).await.unwrap();
    host.restart(Options::default()).await;
    host.tenant("acme").await;
}

#[db_test]
async fn the_command_line_migrates_and_tells(database: Database) {
    let run = |arguments: &[&str]| {
        let output = Host::command(&database, &Options::default(), arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["migrate", "status"]).contains("0001 platform                       pending"));
    assert!(run(&["migrate", "up"]).contains("applied"));
    assert!(run(&["migrate", "status"]).contains("applied"));
    assert!(run(&["migrate", "down"]).contains("pending"));
    assert!(run(&["migrate", "up"]).contains("applied"));
    assert!(run(&["migrate", "down", "--to", "0"]).contains("pending"));
}

#[tokio::test]
async fn a_database_without_tables_is_refused_with_what_to_do() {
    let Some(database) = Database::postgres().await else { return crate::support::skipped("PostgreSQL") };
    migrate::up(&database.config()).await.unwrap();
    migrate::down(&database.config(), Some(0)).await.unwrap();
    match Db::open(&database.config()).await {
        Err(StoreError::Setup(what)) => assert!(what.contains("purlin migrate up"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_data_directory_serves_one_host() {
    let host = Host::start(Database::sqlite()).await;
    let second = Host::command(&host.database, &Options::default(), &["serve"]).output().unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("another host uses") && told.contains("PURLIN_DATA_DIR"), "{told}");
}
