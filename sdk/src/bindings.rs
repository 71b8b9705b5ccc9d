//! The generated bindings of `wit/`, fenced in here.
#![allow(missing_docs, unsafe_code, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit",
    world: "plugin",
    pub_export_macro: true,
    default_bindings_module: "purlin_sdk::bindings",
});
