//! Writes that the plugin checks, and steps in its life.

use serde::de::DeserializeOwned;

use crate::{Error, bindings::exports::purlin::platform::guest as wit};

pub use wit::{Outcome, Step, Verb};

/// A write that is about to be made.
#[derive(Clone, Debug)]
pub struct Write {
    /// `plugin.collection`.
    pub collection: String,
    /// What is about to happen.
    pub verb: Verb,
    /// To which record.
    pub id: String,
    /// The user who writes, or whose request led to it.
    pub actor: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl Write {
    pub(crate) fn from_wit(write: wit::Write) -> Self {
        let wit::Write { collection, verb, id, before, after, actor } = write;
        Self { collection, verb, id, actor, before, after }
    }

    /// The data as it is; none when it is created.
    pub fn before<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        read(self.before.as_deref())
    }

    /// The data as it would be; none when it is deleted.
    pub fn after<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        read(self.after.as_deref())
    }
}

fn read<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, Error> {
    text.map(serde_json::from_str).transpose().map_err(|error| Error::shape(&error))
}
