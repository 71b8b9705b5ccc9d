//! The key that signs tokens: given by path, or made at first run.

use std::{fs, path::PathBuf};

use purlin_service::keys::Keys;

use crate::{config::Config, data_dir};

/// Read the key, making it first when it is not given and not there yet.
pub(crate) fn load(config: &Config) -> Result<Keys, String> {
    let path: PathBuf = match &config.signing_key_file {
        Some(path) => path.clone(),
        None => {
            let path = config.data_dir.join("signing-key.pem");
            if !path.exists() {
                data_dir::write_secret(&path, &Keys::generate().map_err(|e| e.to_string())?)?;
                tracing::info!(file = %path.display(), "made a key that signs tokens");
            }
            path
        }
    };
    let pem = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Keys::from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))
}
