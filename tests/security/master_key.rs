//! The master key, changed under a host that has secrets.

use std::fs;

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, Options, furnish};

const SECRET: &str = "/api/v1/apps/probe/-/script";

#[db_test]
async fn a_new_master_key_takes_over_what_the_old_one_sealed_and_the_old_one_can_go(database: Database) {
    let mut host = Host::start(database).await;
    host.upload(&["inventory", "probe"]).await;
    let ada = furnish(&host, "acme").await;
    let consent = json!({ "plugin": "probe", "grants": "all", "secrets": { "token": "s3cret" } });
    ada.post("/api/v1/installations", &consent).await.expect(201);
    let file = host.database.directory.path().join("master.key");
    let run = |host: &Host, arguments: &[&str]| {
        let output = Host::command(&host.database, &Options::default(), arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(host.stop().await);
    let old = fs::read_to_string(&file).unwrap();
    assert!(run(&host, &["master-key", "rotate"]).contains("has a new key"));
    let both = fs::read_to_string(&file).unwrap();
    assert!(both.lines().count() == 2 && both.lines().nth(1) == Some(old.trim()), "the old one still opens");

    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    let still_good = async |ada: &crate::support::Client| {
        ada.get("/api/v1/users/me").await.expect(200);
        let read = ada.post(SECRET, &json!({ "calls": [{ "do": "secret", "name": "token" }] })).await.expect(200);
        assert!(read.to_string().contains("s3cret"), "{read:#}");
        let login = json!({ "email": "admin@acme.example", "password": "correct horse battery", "code": "000000" });
        let asked = ada.post("/api/v1/auth/login", &login).await;
        assert_eq!(asked.problem(401), "unauthenticated", "the secret of the second factor opens; the code is wrong");
    };
    still_good(&ada).await;
    ada.post("/api/v1/roles", &json!({ "name": "after" })).await.expect(201);
    let verified = ada.get("/api/v1/audit-logs/verify").await.expect(200);
    assert_eq!(verified["intact"], true, "{verified:#}");
    let refreshed = json!({ "refresh_token": ada.me["refresh_token"] });
    ada.post("/api/v1/auth/refresh", &refreshed).await.expect(200);
    assert!(host.stop().await);
    let sealed = run(&host, &["master-key", "reseal"]);
    assert!(sealed.starts_with("sealed ") && !sealed.starts_with("sealed 0 "), "{sealed}");
    assert!(run(&host, &["master-key", "reseal"]).starts_with("sealed 0 secrets"), "once is enough");
    assert!(sealed.contains("opens under none of the keys: secret key-of-acme of inventory"), "{sealed}");

    // Without the old one all secrets open; what it authenticated in the audit log is not known any more.
    fs::write(&file, both.lines().next().unwrap()).unwrap();
    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    still_good(&ada).await;
    assert_eq!(ada.get("/api/v1/audit-logs/verify").await.expect(200)["intact"], false);
    assert!(host.stop().await);
    // And the old one alone knows nothing of what is sealed now.
    fs::write(&file, old).unwrap();
    host.restart(Options::default()).await;
    assert_eq!(ada.at(&host.base).get("/api/v1/users/me").await.problem(401), "unauthenticated");
}

#[db_test]
async fn a_master_key_that_everybody_may_read_is_refused(database: Database) {
    use std::os::unix::fs::PermissionsExt;

    let mut host = Host::start(database).await;
    assert!(host.stop().await);
    let file = host.database.directory.path().join("master.key");
    for (mode, is_good) in [(0o644, false), (0o640, true), (0o600, true), (0o400, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let output = Host::command(&host.database, &Options::default(), &["keys", "rotate"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), is_good, "{mode:o}: {told}");
        assert!(is_good || told.contains("master.key"), "{told}");
    }
}
