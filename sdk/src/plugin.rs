//! The trait a plugin implements, and the line that exports it.

use std::marker::PhantomData;

use serde_json::{Value, json};

use crate::{
    Descriptor, Error, Event, Failure, Job, Outcome, Request, Response, Step, Violation, Write,
    bindings::exports::purlin::platform::guest, log,
};

/// A plugin. Only [`describe`](Self::describe) must be written; a subscription or a job
/// kind that the descriptor names needs its method too.
pub trait Plugin {
    /// What the plugin is, wants and offers. Runs at upload, with every import but
    /// the log closed: calling the host from here fails the upload.
    fn describe() -> Descriptor;

    /// Handle one event the plugin subscribed to. Delivered at least once; its effects
    /// count exactly once. 5 s of wall clock, 500 ms of CPU.
    fn on_event(event: Event) -> Result<(), Failure> {
        Err(Failure::reject(format!("this plugin does not handle {}", event.kind)))
    }

    /// Run one job of a kind the plugin declared. What is returned is kept with the job.
    /// The wall clock is the kind's timeout; 10 s of CPU.
    fn run_job(job: Job) -> Result<Option<Value>, Failure> {
        Err(Failure::reject(format!("this plugin does not run {}", job.kind)))
    }

    /// Answer a request to a route the plugin declared. The caller acts, within what was
    /// granted to the plugin. What is done is kept with an answer below 400, and only with
    /// one; an error is answered as the problem that says the same. 5 s of wall clock, 500 ms
    /// of CPU.
    fn handle_request(request: Request) -> Result<Response, Error> {
        let _ = request;
        Err(Error::NotFound)
    }

    /// Check a write that the descriptor [asks to check](Descriptor::check), before it is made.
    /// What is returned is told to whoever writes, and the write is not made. Reads see what
    /// the writer is about to write; nothing can be written from here. 250 ms.
    fn before_write(write: Write) -> Result<(), Vec<Violation>> {
        let _ = write;
        Ok(())
    }

    /// Take a step that the descriptor [asks to be told of](Descriptor::on). It is called like
    /// a job, again when it fails, and again, with what it did kept, when it returns
    /// [`Outcome::Again`]: so that much is done bit by bit. 60 s of wall clock, 10 s of CPU.
    fn on_lifecycle(step: Step) -> Result<Outcome, Failure> {
        let _ = step;
        Ok(Outcome::Done)
    }
}

/// Export a plugin. Once in a crate of type `cdylib`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[doc(hidden)]
        type PurlinGuest = $crate::Adapter<$plugin>;
        $crate::bindings::export!(PurlinGuest with_types_in $crate::bindings);
    };
}

/// Carries a [`Plugin`] to the component's exports.
#[doc(hidden)]
pub struct Adapter<P>(PhantomData<P>);

impl<P: Plugin> guest::Guest for Adapter<P> {
    fn describe() -> String {
        P::describe().to_json()
    }

    fn on_event(event: guest::Event) -> Result<(), guest::Failure> {
        P::on_event(Event::from_wit(event)).map_err(Failure::into_wit)
    }

    fn run_job(job: guest::Job) -> Result<Option<String>, guest::Failure> {
        P::run_job(Job::from_wit(job)).map(|result| result.map(|value| value.to_string())).map_err(Failure::into_wit)
    }

    fn handle_request(request: guest::Request) -> Result<guest::Response, guest::Error> {
        match P::handle_request(Request::from_wit(request)) {
            Ok(response) => Ok(response.into_wit()),
            Err(error @ Error::Unreadable(_)) => Ok(unreadable(&error).into_wit()),
            Err(error) => Err(error.into_wit()),
        }
    }

    fn before_write(write: guest::Write) -> Result<(), Vec<Violation>> {
        P::before_write(Write::from_wit(write))
    }

    fn on_lifecycle(step: Step) -> Result<Outcome, guest::Failure> {
        P::on_lifecycle(step).map_err(Failure::into_wit)
    }
}

/// The answer where what is stored cannot be read: the plugin is at fault, and its log says why.
fn unreadable(error: &Error) -> Response {
    log::error(error.to_string());
    let problem = json!({
        "type": "urn:purlin:problem:unreadable",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the plugin cannot read what is stored; its log says why",
        "code": "unreadable",
    });
    Response::new(500).header("content-type", "application/problem+json").body(problem.to_string())
}
