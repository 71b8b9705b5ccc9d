//! The generated bindings of `wit/`, fenced in here.
#![allow(missing_docs, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "plugin",
    imports: {
        // What is answered from memory needs no future.
        "purlin:platform/access": trappable,
        "purlin:platform/audit": trappable,
        "purlin:platform/budget": trappable,
        "purlin:platform/identity.caused-by": trappable,
        "purlin:platform/log": trappable,
        "purlin:platform/settings.get": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});
