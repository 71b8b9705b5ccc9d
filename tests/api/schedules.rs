use purlin_test_macros::db_test;
use serde_json::json;

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
