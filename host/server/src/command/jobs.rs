//! `purlin jobs`: what an operator sees of jobs and does with them, with the database alone.

use clap::{Args, Subcommand, ValueEnum};
use purlin_domain::{
    audit::Origin,
    id::{JobId, TenantId},
    job::Queue,
    principal::Principal,
};
use purlin_service::{
    Platform,
    jobs::{self, NewPause, RetryMany},
    list::{ListQuery, Parameter},
    store::{jobs as stored, tenants},
};

use super::say;
use crate::{config::Config, serve};

#[derive(Subcommand)]
pub(super) enum JobAction {
    /// How many jobs there are, of which sort.
    Count,
    /// The newest jobs of a tenant.
    List {
        #[command(flatten)]
        tenant: Tenant,
        /// Those in this state alone: scheduled, waiting, ready, running, dead, succeeded, cancelled.
        #[arg(long)]
        state: Option<String>,
        /// Those of this kind alone.
        #[arg(long)]
        kind: Option<String>,
    },
    /// A job, as the API shows it.
    Show {
        #[command(flatten)]
        tenant: Tenant,
        /// The job.
        id: JobId,
    },
    /// Why a job does not run.
    Why {
        #[command(flatten)]
        tenant: Tenant,
        /// The job.
        id: JobId,
    },
    /// Run a dead letter again; all of the tenant, or of a kind, without an id.
    Retry {
        #[command(flatten)]
        tenant: Tenant,
        /// The job.
        id: Option<JobId>,
        /// Those of this kind alone.
        #[arg(long, conflicts_with = "id")]
        kind: Option<String>,
    },
    /// Take a job back; one that runs is stopped.
    Cancel {
        #[command(flatten)]
        tenant: Tenant,
        /// The job.
        id: JobId,
    },
    /// Throw a dead letter away.
    Discard {
        #[command(flatten)]
        tenant: Tenant,
        /// The job.
        id: JobId,
    },
    /// Begin no other job of a queue, of a kind, or of all, for every tenant or for one.
    Pause {
        #[command(flatten)]
        what: What,
        /// Why, for whoever wonders.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let them run again.
    Resume {
        #[command(flatten)]
        what: What,
    },
    /// What is paused for every tenant.
    Paused,
}

#[derive(Args)]
pub(super) struct Tenant {
    /// The tenant, by its slug.
    #[arg(long)]
    tenant: String,
}

#[derive(Args)]
pub(super) struct What {
    /// Of this tenant alone, by its slug.
    #[arg(long)]
    tenant: Option<String>,
    /// Of this queue alone.
    #[arg(long)]
    queue: Option<QueueName>,
    /// Of this kind alone.
    #[arg(long)]
    kind: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum QueueName {
    High,
    Default,
    Low,
}

impl From<QueueName> for Queue {
    fn from(name: QueueName) -> Self {
        match name {
            QueueName::High => Self::High,
            QueueName::Default => Self::Default,
            QueueName::Low => Self::Low,
        }
    }
}

pub(super) async fn run(config: Config, action: JobAction) -> Result<(), String> {
    let (platform, _runtime) = serve::wire(&config, tokio::runtime::Handle::current(), None).await?;
    match action {
        JobAction::Count => count(&platform).await,
        JobAction::List { tenant, state, kind } => list(&platform, &tenant, state, kind).await,
        JobAction::Show { tenant, id } => {
            show(&jobs::get(&platform, &operator(&platform, &tenant.tenant).await?, id).await.map_err(told)?)
        }
        JobAction::Why { tenant, id } => {
            let tenant = tenant_id(&platform, &tenant.tenant).await?;
            let why = jobs::why(&platform, tenant, id).await.map_err(told)?;
            say(&format!("{}: {}", why.code, why.why));
            Ok(())
        }
        JobAction::Retry { tenant, id: Some(id), .. } => {
            let job = jobs::retry(&platform, &operator(&platform, &tenant.tenant).await?, id).await.map_err(told)?;
            say(&format!("{id} is {}", job.state.as_str()));
            Ok(())
        }
        JobAction::Retry { tenant, id: None, kind } => {
            let which = RetryMany { kind, ..RetryMany::default() };
            let principal = operator(&platform, &tenant.tenant).await?;
            let retried = jobs::retry_many(&platform, &principal, &which).await.map_err(told)?;
            say(&format!("{} dead letters run again", retried.count));
            Ok(())
        }
        JobAction::Cancel { tenant, id } => {
            let job = jobs::cancel(&platform, &operator(&platform, &tenant.tenant).await?, id).await.map_err(told)?;
            say(&format!("{id} is {}", if job.cancel_at.is_some() { "being stopped" } else { job.state.as_str() }));
            Ok(())
        }
        JobAction::Discard { tenant, id } => {
            jobs::discard(&platform, &operator(&platform, &tenant.tenant).await?, id).await.map_err(told)?;
            say(&format!("{id} is gone"));
            Ok(())
        }
        JobAction::Pause { what, reason } => pause(&platform, what, reason).await,
        JobAction::Resume { what } => resume(&platform, what).await,
        JobAction::Paused => {
            for pause in jobs::paused_everywhere(&platform).await.map_err(told)? {
                say(&format!(
                    "queue {:<8} kind {:<30} since {} {}",
                    pause.queue, pause.kind, pause.created_at, pause.reason
                ));
            }
            Ok(())
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so that it fits `map_err`")]
fn told(error: purlin_service::ServiceError) -> String {
    error.to_string()
}

async fn tenant_id(platform: &Platform, slug: &str) -> Result<TenantId, String> {
    let mut tx = platform.db.platform_read().await.map_err(|e| e.to_string())?;
    let found = tenants::id_by_slug(&mut tx, slug).await.map_err(|e| e.to_string())?;
    found.ok_or_else(|| format!("there is no tenant {slug}"))
}

/// Whoever sits at the command line may do anything; the audit log calls it the system.
async fn operator(platform: &Platform, slug: &str) -> Result<Principal, String> {
    let origin = Origin { request_id: "command line".to_owned(), ..Origin::default() };
    Ok(Principal::system(tenant_id(platform, slug).await?, origin))
}

async fn count(platform: &Platform) -> Result<(), String> {
    let mut tx = platform.db.platform_read().await.map_err(|e| e.to_string())?;
    say(&format!("{:<8} {:<10} {:<32} {:<12} {:>9}  oldest", "queue", "state", "kind", "plan", "jobs"));
    for row in stored::census(&mut tx).await.map_err(|e| e.to_string())? {
        let oldest = row.oldest.format("%Y-%m-%dT%H:%M:%SZ");
        say(&format!("{:<8} {:<10} {:<32} {:<12} {:>9}  {oldest}", row.queue, row.state, row.kind, row.plan, row.jobs));
    }
    Ok(())
}

async fn list(platform: &Platform, tenant: &Tenant, state: Option<String>, kind: Option<String>) -> Result<(), String> {
    let principal = operator(platform, &tenant.tenant).await?;
    let is = |field: &str, value: String| Parameter {
        name: field.to_owned(),
        field: field.to_owned(),
        op: "eq".to_owned(),
        value,
    };
    let parameters =
        state.map(|state| is("state", state)).into_iter().chain(kind.map(|kind| is("kind", kind))).collect();
    let query = ListQuery { parameters, sort: vec!["-created_at".to_owned()], ..ListQuery::default() };
    for job in jobs::list(platform, &principal, &query).await.map_err(told)?.data {
        let error = job.last_error.as_deref().unwrap_or_default();
        say(&format!(
            "{} {:<10} {:<8} {:<32} attempt {}/{} {error}",
            job.id,
            job.state.as_str(),
            job.queue.as_str(),
            job.kind,
            job.attempt,
            job.attempts_max
        ));
    }
    Ok(())
}

fn show(job: &stored::Job) -> Result<(), String> {
    say(&serde_json::to_string_pretty(job).map_err(|e| e.to_string())?);
    Ok(())
}

async fn pause(platform: &Platform, what: What, reason: String) -> Result<(), String> {
    let request = NewPause { queue: what.queue.map(Queue::from), kind: what.kind, reason };
    match what.tenant {
        Some(slug) => drop(jobs::pause(platform, &operator(platform, &slug).await?, &request).await.map_err(told)?),
        None => drop(jobs::pause_everywhere(platform, &request).await.map_err(told)?),
    }
    say("paused: what runs ends, nothing else begins");
    Ok(())
}

async fn resume(platform: &Platform, what: What) -> Result<(), String> {
    let request = NewPause { queue: what.queue.map(Queue::from), kind: what.kind, reason: String::new() };
    let was_paused = match what.tenant {
        Some(slug) => {
            let principal = operator(platform, &slug).await?;
            match jobs::resume(platform, &principal, request.queue(), request.kind()).await {
                Err(purlin_service::ServiceError::NotFound) => false,
                done => done.map(|()| true).map_err(told)?,
            }
        }
        None => jobs::resume_everywhere(platform, &request).await.map_err(told)?,
    };
    say(if was_paused { "they run again" } else { "nothing like that was paused; `purlin jobs paused` tells what is" });
    Ok(())
}
