//! The one place where the runtime's host interfaces meet the service: every call of a
//! guest goes to the unit of work of its invocation.

use purlin_domain::{
    Json,
    audit::AuditEntry,
    error::HostError,
    fetch::{FetchRequest, Fetched},
    file::File,
    id::{EventId, JobId, RecordId, UserId},
    job::{JobOptions, JobState},
    record::{Record, RecordPage},
};
use purlin_runtime::host::{
    access::Access,
    audit::Audit,
    budget::{Allowance, Budget},
    events::Events,
    files::Files,
    http::Http,
    identity::{Identity, User},
    jobs::Jobs,
    records::{Query, Records},
    settings::Settings,
    tenancy::{Tenancy, Tenant},
};
use purlin_service::{DEFECT, list::ListQuery, unit::Unit};

use crate::fault;

/// Answers a guest's calls from its unit of work; which is moved often, so it lies on the heap.
pub(crate) struct UnitHost(pub(crate) Box<Unit>);

impl UnitHost {
    /// Remember when the platform could not do what the guest asked of it, as while the
    /// database is away: what comes of that is no failure of the guest. A defect is.
    fn noted<T>(&mut self, answer: Result<T, HostError>) -> Result<T, HostError> {
        if matches!(&answer, Err(HostError::Unavailable(why)) if why != DEFECT) {
            self.0.let_down();
        }
        answer
    }
}

impl Tenancy for UnitHost {
    async fn tenant(&mut self) -> Result<Tenant, HostError> {
        let tenant = self.0.tenant().await;
        let tenant = self.noted(tenant)?;
        Ok(Tenant { id: tenant.id, name: tenant.name, slug: tenant.slug, plan: tenant.plan, settings: tenant.settings })
    }
}

impl Identity for UnitHost {
    fn caused_by(&mut self) -> Option<UserId> {
        self.0.cause().user
    }

    async fn user(&mut self, id: UserId) -> Result<User, HostError> {
        let user = self.0.user(id).await;
        let user = self.noted(user)?;
        Ok(User {
            id: user.id,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            is_active: user.is_active,
        })
    }
}

impl Access for UnitHost {
    fn require(&mut self, resource: &str, action: &str) -> Result<(), HostError> {
        self.0.require(resource, action)
    }

    fn explain(&mut self, resource: &str, action: &str) -> Vec<String> {
        self.0.explain(resource, action)
    }
}

impl Audit for UnitHost {
    fn record_audit(&mut self, entry: AuditEntry) -> Result<(), HostError> {
        self.0.record_audit(entry)
    }
}

impl Events for UnitHost {
    async fn publish(&mut self, event_type: &str, subject: Option<String>, data: Json) -> Result<EventId, HostError> {
        let answer = self.0.publish(event_type, subject, data).await;
        self.noted(answer)
    }
}

impl Jobs for UnitHost {
    async fn enqueue(&mut self, kind: &str, payload: Json, options: JobOptions) -> Result<JobId, HostError> {
        let answer = self.0.enqueue(kind, payload, &options).await;
        self.noted(answer)
    }

    async fn job_state(&mut self, id: JobId) -> Result<JobState, HostError> {
        let answer = self.0.job_state(id).await;
        self.noted(answer)
    }

    async fn cancel(&mut self, id: JobId) -> Result<(), HostError> {
        let answer = self.0.cancel(id).await;
        self.noted(answer)
    }

    async fn progress(&mut self, percent: u8, message: Option<String>) -> Result<(), HostError> {
        let answer = self.0.progress(percent, message).await;
        self.noted(answer)
    }
}

impl Settings for UnitHost {
    fn settings(&mut self) -> Result<Json, HostError> {
        self.0.settings()
    }

    async fn secret(&mut self, name: &str) -> Result<String, HostError> {
        let answer = self.0.secret(name).await;
        self.noted(answer)
    }
}

impl Http for UnitHost {
    async fn fetch(&mut self, request: FetchRequest) -> Result<Fetched, HostError> {
        self.0.fetch(request).await
    }
}

impl Files for UnitHost {
    async fn put(&mut self, key: &str, content_type: &str, content: Vec<u8>) -> Result<File, HostError> {
        let answer = self.0.put_file(key, content_type, content).await;
        self.noted(answer)
    }

    async fn stat(&mut self, key: &str) -> Result<File, HostError> {
        let answer = self.0.stat_file(key).await;
        self.noted(answer)
    }

    async fn read(&mut self, key: &str, offset: u64, length: u32) -> Result<Vec<u8>, HostError> {
        let answer = self.0.read_file(key, offset, length).await;
        self.noted(answer)
    }

    async fn remove(&mut self, key: &str) -> Result<(), HostError> {
        let answer = self.0.delete_file(key).await;
        self.noted(answer)
    }

    async fn files(
        &mut self,
        prefix: &str,
        size: u32,
        after: Option<String>,
    ) -> Result<(Vec<File>, Option<String>), HostError> {
        let answer = self.0.list_files(prefix, size, after.as_deref()).await;
        self.noted(answer)
    }
}

impl Budget for UnitHost {
    fn allowances(&mut self) -> Vec<Allowance> {
        self.0.used().into_iter().map(|(limit, total, used)| Allowance::new(limit, total, used)).collect()
    }
}

impl Records for UnitHost {
    async fn get(&mut self, collection: &str, id: RecordId) -> Result<Record, HostError> {
        let of = self.0.collection_ref(collection)?;
        let answer = self.0.get(&of, id).await;
        self.noted(answer)
    }

    async fn create(&mut self, collection: &str, data: Json) -> Result<Record, HostError> {
        let of = self.0.collection_ref(collection)?;
        let answer = self.0.create(&of, data).await;
        self.noted(answer)
    }

    async fn update(
        &mut self,
        collection: &str,
        id: RecordId,
        data: Json,
        expected: Option<i64>,
    ) -> Result<Record, HostError> {
        let of = self.0.collection_ref(collection)?;
        let record = self.0.update(&of, id, data, expected).await;
        let record = self.noted(record)?;
        fault::point("guest-running").await;
        Ok(record)
    }

    async fn patch(
        &mut self,
        collection: &str,
        id: RecordId,
        changes: Json,
        expected: Option<i64>,
    ) -> Result<Record, HostError> {
        let of = self.0.collection_ref(collection)?;
        let record = self.0.patch(&of, id, &changes, expected).await;
        let record = self.noted(record)?;
        fault::point("guest-running").await;
        Ok(record)
    }

    async fn delete(&mut self, collection: &str, id: RecordId) -> Result<(), HostError> {
        let of = self.0.collection_ref(collection)?;
        let answer = self.0.delete(&of, id, None).await;
        self.noted(answer)
    }

    async fn query(&mut self, collection: &str, query: Query) -> Result<RecordPage, HostError> {
        let of = self.0.collection_ref(collection)?;
        let query = ListQuery {
            tree: query.filter,
            sort: query.sort,
            size: Some(query.size),
            after: query.after,
            ..ListQuery::default()
        };
        let answer = self.0.query(&of, &query).await;
        self.noted(answer)
    }

    async fn count(&mut self, collection: &str, filter: Option<Json>) -> Result<u64, HostError> {
        let of = self.0.collection_ref(collection)?;
        let count = self.0.count(&of, filter.as_ref()).await;
        let count = self.noted(count)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn lock(&mut self, key: &str) -> Result<(), HostError> {
        let answer = self.0.lock(key).await;
        self.noted(answer)
    }
}
