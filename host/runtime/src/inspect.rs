//! Looking into an uploaded component before anything runs it.

use std::time::Instant;

use purlin_domain::{Json, limits::COMPONENT_BYTES_MAX};
use serde_json::json;
use wasmtime::component::Component;

use crate::{error::RuntimeError, host::Host, runtime::Runtime};

/// What a look found.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// BLAKE3 of its bytes, in hex.
    pub digest: String,
    /// What `describe` returned.
    pub descriptor: Json,
    /// `size_bytes`, `imports`, `compile_ms`, `describe_us`, `memory_bytes`.
    pub report: Json,
}

/// The name by which a component's bytes are known: BLAKE3 in hex.
pub fn digest(component: &[u8]) -> String {
    blake3::hash(component).to_hex().to_string()
}

/// What a component may import, beside the platform's own package.
const WASI: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const PLATFORM: &str = "purlin:platform/";
const MAGIC: &[u8] = b"\0asm";
/// Version 13, layer 1: a component, where a core module has version 1, layer 0.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];

impl<H: Host> Runtime<H> {
    /// Check what kind of file it is, compile it, check its imports, have it describe itself.
    pub async fn inspect(&self, component: &[u8]) -> Result<Inspected, RuntimeError> {
        check_kind(component)?;
        let digest = digest(component);
        let began = Instant::now();
        let compiled = self.compiled(&digest, component).await?;
        let compile_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let imports = self.check_imports(&compiled)?;
        let prepared = self.link(&digest, &compiled)?;
        let began = Instant::now();
        let described = self.describe(&prepared).await;
        let describe_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let descriptor = match described.outcome {
            Ok(Ok(descriptor)) => descriptor,
            Ok(Err(why)) => return Err(RuntimeError::refused("describe", why)),
            Err(ended) => return Err(RuntimeError::refused("describe", format!("`describe` {ended}"))),
        };
        let report = json!({
            "size_bytes": component.len(), "imports": imports, "compile_ms": compile_ms, "describe_us": describe_us,
            "memory_bytes": described.usage.memory_bytes,
        });
        Ok(Inspected { digest, descriptor, report })
    }

    fn check_imports(&self, component: &Component) -> Result<Vec<String>, RuntimeError> {
        let component_type = component.component_type();
        let imports: Vec<String> = component_type.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let known = |name: &String| name.starts_with(PLATFORM) || WASI.iter().any(|prefix| name.starts_with(prefix));
        let unknown: Vec<&String> = imports.iter().filter(|name| !known(name)).collect();
        match unknown.as_slice() {
            [] => Ok(imports),
            names => Err(RuntimeError::refused("import", format!("this host does not offer {names:?}"))),
        }
    }
}

fn check_kind(component: &[u8]) -> Result<(), RuntimeError> {
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(RuntimeError::refused("size", format!("a component takes at most {COMPONENT_BYTES_MAX} bytes")));
    }
    match component.strip_prefix(MAGIC) {
        Some(rest) if rest.starts_with(COMPONENT) => Ok(()),
        Some(_) => {
            Err(RuntimeError::refused("kind", "this is a core module; build a component (target wasm32-wasip2)"))
        }
        None => Err(RuntimeError::refused("kind", "this is not a WebAssembly component")),
    }
}
