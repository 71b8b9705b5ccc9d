//! Schedules: jobs that are enqueued again and again.

use std::{str::FromStr, sync::Arc, time::Duration};

use chrono::{LocalResult, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use purlin_domain::{
    Timestamp,
    descriptor::{self, Descriptor},
    error::Violation,
    job::NewJob,
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    jobs::{self, Enqueue},
    schedules::{self, Due, Schedule},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError, catalog,
    change::{Change, Mutation, conflict, expect},
    jobs::backlog,
    list::{ListPage, ListQuery, Prepared},
    trace::{Span, SpanKind},
    users::Enqueued,
};

/// Schedules looked at in one round.
const DUE_MAX: u32 = 200;
/// A schedule that is this late was missed, not merely slow.
const MISSED_AFTER: TimeDelta = TimeDelta::seconds(60);

/// The next time after this one; none when there is none, or the text is no schedule.
fn next(cron: &str, time_zone: &str, after: Timestamp) -> std::result::Result<Option<Timestamp>, String> {
    let zone = Tz::from_str(time_zone).map_err(|_| format!("`{time_zone}` is not an IANA time zone"))?;
    if cron.split_whitespace().count() != 5 {
        return Err("five fields are needed: minute, hour, day of the month, month, day of the week".to_owned());
    }
    let pattern = Cron::from_str(cron).map_err(|error| error.to_string())?;
    // What runs every so many minutes of any hour goes by the time that passes.
    if cron.split_whitespace().nth(1).is_some_and(|hours| hours.starts_with('*')) {
        return Ok(pattern.find_next_occurrence(&after.with_timezone(&zone), false).ok().map(|at| at.to_utc()));
    }
    // What runs at times of the day goes by the clock on the wall, as if it never changed.
    let mut wall = after.with_timezone(&zone).naive_local().and_utc();
    while let Ok(next) = pattern.find_next_occurrence(&wall, false) {
        wall = next;
        if let Some(at) = instant(next.naive_utc(), zone).filter(|at| *at > after) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// When the clock on the wall shows this: the first time where it does so twice; where it skips it,
/// when it goes on.
fn instant(wall: NaiveDateTime, zone: Tz) -> Option<Timestamp> {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        LocalResult::None => {
            // Clocks are set at whole minutes, and by no more than a day.
            let later = (1..=24 * 60).map(|minutes| wall + TimeDelta::minutes(minutes));
            let shown = |wall: NaiveDateTime| zone.from_local_datetime(&wall).earliest();
            later.filter_map(shown).next().map(|at| at.to_utc())
        }
    }
}

/// What is wrong with the schedules of a descriptor.
pub(crate) fn violations(descriptor: &Descriptor, now: Timestamp) -> Vec<Violation> {
    let wrong = |(i, job): (usize, &descriptor::JobKind)| {
        let spec = job.schedule.as_ref()?;
        let why = match next(&spec.cron, &spec.time_zone, now) {
            Ok(Some(_)) => return None,
            Ok(None) => "there is no such time".to_owned(),
            Err(why) => why,
        };
        Some(Violation::new(format!("/jobs/{i}/schedule"), "schedule", why))
    };
    descriptor.jobs.iter().enumerate().filter_map(wrong).collect()
}

/// Make the tenant's schedules of a plugin what its descriptor says.
pub(crate) async fn install(
    platform: &Platform,
    tx: &mut TenantTx,
    descriptor: &Descriptor,
    now: Timestamp,
) -> Result<()> {
    let present = schedules::of_plugin(tx, &descriptor.name).await?;
    for job in &descriptor.jobs {
        let Some(spec) = &job.schedule else { continue };
        let before = present.iter().find(|s| s.kind == job.kind);
        let same =
            |s: &Schedule| s.cron == spec.cron && s.time_zone == spec.time_zone && s.missed == spec.missed.as_str();
        if before.is_some_and(same) {
            continue;
        }
        let schedule = Schedule {
            id: platform.clock.id(),
            plugin: descriptor.name.clone(),
            kind: job.kind.clone(),
            cron: spec.cron.clone(),
            time_zone: spec.time_zone.clone(),
            missed: spec.missed.as_str().to_owned(),
            is_paused: false,
            next_at: next(&spec.cron, &spec.time_zone, now).map_err(ServiceError::internal)?,
            last_at: None,
            created_at: now,
            updated_at: now,
        };
        schedules::upsert(tx, &schedule).await?;
    }
    let kept = |kind: &str| descriptor.job(kind).is_some_and(|job| job.schedule.is_some());
    for gone in present.iter().filter(|s| !kept(&s.kind)) {
        schedules::delete(tx, &gone.plugin, &gone.kind).await?;
    }
    Ok(())
}

/// Enqueue what is due; how many jobs. Safe to run on every host: a schedule moves on in the
/// transaction that enqueues its job, once.
pub async fn fire(platform: &Arc<Platform>) -> Result<u64> {
    let now = platform.now();
    let mut tx = platform.db.platform_read().await?;
    let due = schedules::due(&mut tx, now, DUE_MAX).await?;
    drop(tx);
    let mut fired = 0;
    for Due { tenant_id, is_runnable, schedule } in due {
        let mut tx = platform.db.write(tenant_id).await?;
        if !is_runnable {
            // Its time passes without a job while the plugin is disabled, or the tenant suspended.
            if skip(&mut tx, &schedule, now).await? {
                tx.commit().await?;
            }
            continue;
        }
        match fire_one(platform, &mut tx, &schedule, now).await {
            Ok(Some(enqueued)) => {
                tx.commit().await?;
                fired += u64::from(enqueued);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, schedule = %schedule.id, "a schedule could not make its job"),
        }
    }
    if fired > 0 {
        platform.wake_workers();
    }
    Ok(fired)
}

/// Move a schedule on without a job; whether nobody else did.
async fn skip(tx: &mut TenantTx, schedule: &Schedule, now: Timestamp) -> Result<bool> {
    let Some(at) = schedule.next_at else { return Ok(false) };
    let following = next(&schedule.cron, &schedule.time_zone, now).map_err(ServiceError::internal)?;
    Ok(schedules::advance(tx, schedule.id, at, following, None).await?)
}

/// Whether it made a job; none when another host was faster.
async fn fire_one(
    platform: &Arc<Platform>,
    tx: &mut TenantTx,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Option<bool>> {
    let Some(at) = schedule.next_at else { return Ok(None) };
    let following = next(&schedule.cron, &schedule.time_zone, now).map_err(ServiceError::internal)?;
    let is_missed = now - at > MISSED_AFTER && schedule.missed == descriptor::Missed::Skip.as_str();
    if !schedules::advance(tx, schedule.id, at, following, (!is_missed).then_some(now)).await? {
        return Ok(None);
    }
    if is_missed {
        return Ok(Some(false));
    }
    let job = job_of(platform, tx, schedule, now).await?;
    // While the last one is not done, another would only pile up behind it.
    let key = job.unique_key.as_deref().unwrap_or_default();
    if jobs::unfinished_with_key(tx, &job.kind, key).await?.is_some() {
        return Ok(Some(false));
    }
    let cause = platform.first_cause(None, None);
    let row = Enqueue { job: &job, plugin: &schedule.plugin, event: None, cause: &cause, by: None };
    jobs::insert(tx, &[row], now).await?;
    platform.span_ended(cause.trace, Duration::ZERO, || {
        Span::new(format!("schedule {}", schedule.kind), SpanKind::Internal)
            .with("purlin.plugin", schedule.plugin.as_str())
            .with("purlin.job", job.id.to_string())
    });
    Ok(Some(true))
}

async fn job_of(platform: &Platform, tx: &mut TenantTx, schedule: &Schedule, now: Timestamp) -> Result<NewJob> {
    let plugin = catalog::served_plugin(platform, tx, &schedule.plugin).await?;
    let kind = plugin.loaded.descriptor.job(&schedule.kind).ok_or(ServiceError::NotFound)?;
    Ok(NewJob {
        attempts_max: kind.attempts,
        queue: kind.queue,
        unique_key: Some(format!("schedule:{}", schedule.id)),
        schedule: Some(schedule.id),
        ..NewJob::new(platform.id(), &schedule.kind, json!({}), now)
    })
}

/// A page of the tenant's schedules.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Schedule>> {
    let prepared = Prepared::new(platform, principal.tenant, "schedules", &schedules::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = schedules::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One schedule.
pub async fn get(platform: &Platform, principal: &Principal, id: Uuid) -> Result<Schedule> {
    let mut tx = platform.db.read(principal.tenant).await?;
    schedules::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}

/// What of a schedule can be changed: whether it makes jobs. When, its plugin says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSchedule {
    /// Whether it makes no jobs for now.
    pub is_paused: bool,
}

/// Pause a schedule, or let it go on: what it would have made meanwhile is not made.
pub async fn change(
    platform: &Platform,
    principal: &Principal,
    id: Uuid,
    request: &ChangeSchedule,
    expected: Option<Timestamp>,
) -> Result<Schedule> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = schedules::hold(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    let now = change.after(before.updated_at);
    let next_at = match (before.is_paused, request.is_paused) {
        (true, false) => next(&before.cron, &before.time_zone, now).map_err(ServiceError::internal)?,
        _ => before.next_at,
    };
    if !schedules::set_paused(&mut change.tx, id, request.is_paused, next_at, now, before.updated_at).await? {
        return Err(conflict());
    }
    let after = Schedule { is_paused: request.is_paused, next_at, updated_at: now, ..before.clone() };
    change.note(Change {
        what: "schedule.updated",
        resource_type: "schedule",
        id: id.to_string(),
        changes: json!({ "is_paused": { "before": before.is_paused, "after": after.is_paused } }),
        data: Some(json!({ "id": id, "kind": after.kind, "is_paused": after.is_paused })),
    });
    change.finish(after).await
}

/// Enqueue a schedule's job now, whatever the time is; its id.
pub async fn run(platform: &Platform, principal: &Principal, id: Uuid) -> Result<Enqueued> {
    backlog::grow(platform, principal.tenant).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let schedule = schedules::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let now = change.now;
    let job = match job_of(platform, &mut change.tx, &schedule, now).await {
        Err(ServiceError::NotFound) => {
            return Err(ServiceError::Conflict("disabled", format!("the plugin {} is not enabled", schedule.plugin)));
        }
        job => job?,
    };
    let key = job.unique_key.as_deref().unwrap_or_default();
    if let Some(id) = jobs::unfinished_with_key(&mut change.tx, &job.kind, key).await? {
        return change.finish(Enqueued { id }).await;
    }
    let enqueued = Enqueued { id: job.id };
    change.note(Change {
        what: "schedule.run",
        resource_type: "schedule",
        id: id.to_string(),
        changes: json!({ "job": { "before": null, "after": job.id } }),
        data: None,
    });
    change.enqueue_for(schedule.plugin, job);
    change.finish(enqueued).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_is_told_in_the_schedules_own_zone() {
        let next = |cron, zone, after| next(cron, zone, at(after)).unwrap().unwrap();
        assert_eq!(next("30 9 * * *", "UTC", "2026-01-31T09:29:59Z"), at("2026-01-31T09:30:00Z"));
        assert_eq!(next("30 9 * * *", "Europe/Berlin", "2026-01-31T08:00:00Z"), at("2026-01-31T08:30:00Z"));
        assert_eq!(next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z"), at("2028-02-29T00:00:00Z"));
    }

    #[test]
    fn an_hour_that_the_clocks_skip_or_repeat_runs_once() {
        let next = |after| next("30 2 * * *", "Europe/Berlin", at(after)).unwrap().unwrap();
        // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        let spring = next("2026-03-28T12:00:00Z");
        assert!(spring >= at("2026-03-29T01:00:00Z") && spring <= at("2026-03-30T00:30:00Z"), "{spring}");
        let autumn = next("2026-10-24T12:00:00Z");
        assert_eq!(autumn, at("2026-10-25T00:30:00Z"));
        assert_eq!(next("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z"), "not twice");
    }

    #[test]
    fn several_times_a_day_run_once_each_when_the_clocks_change() {
        let next = |cron, after| next(cron, "Europe/Berlin", at(after)).unwrap().unwrap();
        for cron in ["30 2 * * *", "30 2,14 * * *", "0,30 2 * * *"] {
            assert_eq!(next(cron, "2026-03-29T00:59:00Z"), at("2026-03-29T01:00:00Z"), "{cron}");
        }
        assert_eq!(next("30 2,14 * * *", "2026-03-29T01:00:00Z"), at("2026-03-29T12:30:00Z"));
        assert_eq!(next("30 2,14 * * *", "2026-10-25T00:29:00Z"), at("2026-10-25T00:30:00Z"));
        assert_eq!(next("30 2,14 * * *", "2026-10-25T00:30:00Z"), at("2026-10-25T13:30:00Z"), "not twice");
        assert_eq!(next("0,30 2 * * *", "2026-10-25T00:30:00Z"), at("2026-10-26T01:00:00Z"), "not twice");
        // Every quarter of an hour goes by the time that passes.
        assert_eq!(next("*/15 * * * *", "2026-10-25T00:45:00Z"), at("2026-10-25T01:00:00Z"));
        assert_eq!(next("*/15 * * * *", "2026-03-29T00:45:00Z"), at("2026-03-29T01:00:00Z"));
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        let wrong = |cron, zone| next(cron, zone, at("2026-01-01T00:00:00Z")).unwrap_err();
        assert!(wrong("* * * *", "UTC").contains("five fields"));
        assert!(wrong("* * * * * *", "UTC").contains("five fields"));
        assert!(wrong("* * * * *", "Mars/Olympus").contains("time zone"));
        assert!(!wrong("61 * * * *", "UTC").is_empty());
    }
}
