use std::time::Duration;

use purlin_test_macros::db_test;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Database, Host};

#[db_test]
async fn a_plugin_brings_its_schedules_and_they_fire_pause_and_run_at_once(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let schedules = ada.rows("/api/v1/schedules").await;
    assert_eq!(schedules.len(), 1);
    let schedule = &schedules[0];
    assert_eq!((&schedule["kind"], &schedule["time_zone"]), (&json!("probe.yearly"), &json!("Europe/Berlin")));
    let next = schedule["next_at"].as_str().unwrap();
    assert!(next.contains("-12-31T23:00:00"), "midnight in Berlin: {next}");
    let path = format!("/api/v1/schedules/{}", schedule["id"].as_str().unwrap());

    let run = ada.post(&format!("{path}/run"), &json!({})).await.expect(202);
    let job = ada.wait_for_job(run["id"].as_str().unwrap()).await;
    assert_eq!((&job["state"], &job["schedule_id"]), (&json!("succeeded"), &schedule["id"]));

    // Its time comes: it is enqueued once, and the schedule moves on.
    host.database.execute("UPDATE schedules SET next_at = '2026-01-01T00:00:00+00:00'").await;
    let fired = || ada.rows("/api/v1/jobs?filter[kind]=probe.yearly");
    for _ in 0..100 {
        if fired().await.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ada.settle().await;
    assert_eq!(fired().await.len(), 2);
    assert_eq!(ada.rows("/api/v1/apps/probe/effects?filter[key]=yearly").await.len(), 2);
    assert_eq!(ada.get(&path).await.expect(200)["next_at"], schedule["next_at"]);

    assert_eq!(ada.patch(&path, &json!({ "is_paused": true })).await.expect(200)["is_paused"], true);
    host.database.execute("UPDATE schedules SET next_at = '2026-01-01T00:00:00+00:00'").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(fired().await.len(), 2, "a paused one makes no job");
    let resumed = ada.patch(&path, &json!({ "is_paused": false })).await.expect(200);
    assert_eq!(resumed["next_at"], schedule["next_at"], "what it missed meanwhile is not made up for");

    ada.delete("/api/v1/installations/probe").await.expect(204);
    assert_eq!(ada.post(&format!("{path}/run"), &json!({})).await.problem(409), "disabled");
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=schedule.run").await.len(), 1);
}

#[db_test]
async fn what_was_due_while_a_plugin_was_disabled_or_its_tenant_suspended_is_left_out(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.settle().await;
    let past = if host.database.is_postgres() { "2026-01-01T00:00:00Z" } else { "2026-01-01T00:00:00+00:00" };
    let passes = format!("UPDATE schedules SET next_at = '{past}' WHERE kind = 'probe.yearly'");
    let ran = async || ada.rows("/api/v1/jobs?filter[kind]=probe.yearly").await.len();
    let moves_on = async || {
        for _ in 0..100 {
            sleep(Duration::from_millis(100)).await;
            let is_due = format!("SELECT count(*) FROM schedules WHERE kind = 'probe.yearly' AND next_at = '{past}'");
            if host.database.count(&is_due).await == 0 {
                return;
            }
        }
        panic!("the schedule does not move on");
    };
    ada.delete("/api/v1/installations/probe").await.expect(204);
    host.database.execute(&passes).await;
    moves_on().await;
    ada.enable("probe").await;
    ada.settle().await;
    assert_eq!(ran().await, 0);
    host.suspend(&ada).await;
    host.database.execute(&passes).await;
    moves_on().await;
    let id = ada.me["tenant"]["id"].as_str().unwrap();
    host.operator().await.post(&format!("/api/v1/tenants/{id}/activate"), &json!({})).await.expect(200);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(ran().await, 0);
    // What is missed while it could run is made up for.
    host.database.execute(&passes).await;
    moves_on().await;
    ada.settle().await;
    assert_eq!(ran().await, 1);
}
