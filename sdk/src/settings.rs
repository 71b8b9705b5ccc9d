//! What the tenant's administrators set for this plugin.

use serde::de::DeserializeOwned;

use crate::{Error, bindings::purlin::platform::settings as wit};

/// The settings: valid under the descriptor's schema, its defaults filled in.
pub fn get<T: DeserializeOwned>() -> Result<T, Error> {
    serde_json::from_str(&wit::get()?).map_err(|error| Error::unreadable("the settings", &error))
}

/// A secret that the descriptor names; `NotFound` while none is set. Do not log it.
pub fn secret(name: &str) -> Result<String, Error> {
    Ok(wit::secret(name)?)
}
