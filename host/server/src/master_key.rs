//! The master key: given by path, or made at first run. Everything secret in the database
//! is sealed under it, so losing it loses that.

use std::{fs, path::PathBuf};

use purlin_service::secrets::Secrets;

use crate::{config::Config, data_dir};

/// Read the key, making it first when it is not given and not there yet.
pub(crate) fn load(config: &Config) -> Result<Secrets, String> {
    let path: PathBuf = match &config.master_key_file {
        Some(path) => path.clone(),
        None => {
            let path = config.data_dir.join("master.key");
            if !path.exists() {
                data_dir::write_secret(&path, &Secrets::generate())?;
                tracing::info!(file = %path.display(), "made a master key; keep a copy of it");
            }
            path
        }
    };
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Secrets::from_master(&text).map_err(|error| format!("{}: {error}", path.display()))
}
