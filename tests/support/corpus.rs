//! Components made to do harm, each written in the text format and wrapped as a plugin with one
//! route, `POST /go`, which does it.

use std::{fmt::Write, path::Path};

use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{
    Resolve, WorldId, WorldItem,
    abi::{AbiVariant, WasmType},
};

/// What has to become of it.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// It is refused at upload, with this word among the reasons.
    Refused(&'static str),
    /// The host ends it, with this among the words.
    Ends(&'static str),
    /// It runs to its end, and nothing came of it.
    Nothing,
    /// Whichever of these: ended by the host, failed, or nothing.
    Typed,
}

/// A component made to do harm.
#[derive(Clone, Debug)]
pub struct Hostile {
    pub name: String,
    pub expect: Expect,
    /// Fields of the module beside those that every one has.
    fields: String,
    /// What the route does.
    body: String,
    /// What `cabi_realloc` does; the usual, when missing.
    realloc: Option<&'static str>,
    /// What `describe` returns; its descriptor, when missing.
    describe: Option<&'static str>,
    /// Members of the descriptor beside those that every one has.
    declares: String,
    memories: &'static str,
}

const GUEST: &str = "purlin:platform/guest@1.0.0";
const REALLOC: &str = "(local $at i32) (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16)))
    (local.get $at)";
const MEMORY: &str = r#"(memory (export "memory") 2)"#;
/// What lies at 32: that all is well; for a request, 200 and nothing more.
const NOTHING: &str = "(i32.const 32)";

impl Hostile {
    fn new(name: &str, expect: Expect, body: &str) -> Self {
        let name = format!("h-{name}");
        let body = body.to_owned();
        Self {
            name,
            expect,
            fields: String::new(),
            body,
            realloc: None,
            describe: None,
            declares: String::new(),
            memories: MEMORY,
        }
    }

    fn with(self, fields: &str) -> Self {
        Self { fields: fields.to_owned(), ..self }
    }

    /// One whose descriptor has this member, too.
    fn declaring(name: &str, word: &'static str, member: &str, value: &Value) -> Self {
        let declares = format!(r#","{member}":{value}"#);
        Self { declares, ..Self::new(name, Expect::Refused(word), "(i32.const 32)") }
    }

    /// The component.
    pub fn component(&self, wit: &Wit) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        embed_component_metadata(&mut module, &wit.resolve, wit.world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default();
        let component = encoder.module(&module).and_then(|encoder| encoder.validate(true).encode());
        component.unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }

    fn text(&self) -> String {
        let (name, declares) = (&self.name, &self.declares);
        let descriptor = format!(
            r#"{{"name":"{name}","version":"1.0.0","title":"Hostile","files":true,"egress":["localhost"],"secrets":[{{"name":"s"}}],
                "permissions":[{{"permission":"{name}.tools:use"}}],"routes":[{{"method":"POST","path":"/go","permission":"{name}.tools:use"}}]{declares}}}"#
        );
        let data = descriptor.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").unwrap();
            text
        });
        let length = descriptor.len();
        let (memories, fields, body) = (self.memories, &self.fields, &self.body);
        let realloc = self.realloc.unwrap_or(REALLOC);
        let describe = self.describe.map_or_else(
            || {
                format!(
                    "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {length})) (i32.const 16)"
                )
            },
            str::to_owned,
        );
        // Imports come first in a module.
        let (imports, rest): (Vec<&str>, Vec<&str>) =
            fields.lines().partition(|line| line.trim_start().starts_with("(import"));
        let (imports, rest) = (imports.join("\n"), rest.join("\n"));
        format!(
            r#"(module {imports} {memories}
                (global $heap (mut i32) (i32.const 65536))
                (data (i32.const 1024) "{data}")
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "{GUEST}#describe") (result i32) {describe})
                (func (export "{GUEST}#on-event") (param i32) (result i32) {NOTHING})
                (data (i32.const 36) "\c8\00")
                (func (export "{GUEST}#run-job") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {NOTHING})
                (func $run (export "{GUEST}#handle-request") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {body})
                (func (export "{GUEST}#before-write") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {NOTHING})
                (func (export "{GUEST}#on-lifecycle") (param i32 i32 i32) (result i32) {NOTHING})
                {rest})"#
        )
    }
}

/// The contract, as these components are built against it.
pub struct Wit {
    resolve: Resolve,
    world: WorldId,
}

impl Wit {
    pub fn read() -> Self {
        let mut resolve = Resolve::default();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let (package, _) = resolve.push_dir(path).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        Self { resolve, world }
    }

    /// Every function that the host offers: its interface, its name, and its parameters and
    /// result as a module sees them.
    fn functions(&self) -> Vec<(String, String, Vec<WasmType>, Vec<WasmType>)> {
        let mut all = Vec::new();
        for (key, item) in &self.resolve.worlds[self.world].imports {
            let WorldItem::Interface { id, .. } = item else { continue };
            let interface = self.resolve.name_world_key(key);
            for (name, function) in &self.resolve.interfaces[*id].functions {
                let signature = self.resolve.wasm_signature(AbiVariant::GuestImport, function);
                all.push((interface.clone(), name.clone(), signature.params, signature.results));
            }
        }
        all
    }

    /// Every function of the host, called with what it cannot take.
    pub fn misuses(&self) -> Vec<Hostile> {
        let mut all = Vec::new();
        for (interface, function, params, results) in self.functions() {
            for (how, value) in [("ones", -1i64), ("high", 0x7fff_fff0), ("zeros", 0), ("small", 7)] {
                let short =
                    interface.trim_start_matches("purlin:platform/").split('@').next().unwrap_or_default().to_owned();
                let (mut types, mut arguments) = (String::new(), String::new());
                for kind in &params {
                    let kind = core(*kind);
                    write!(types, " {kind}").unwrap();
                    write!(arguments, " ({kind}.const {value})").unwrap();
                }
                let result = results.iter().fold(String::new(), |text, kind| format!("{text} {}", core(*kind)));
                let fields =
                    format!("(import \"{interface}\" \"{function}\" (func $host (param{types}) (result{result})))");
                let drop = if results.is_empty() { "" } else { "drop" };
                let body = format!("(call $host{arguments}) {drop} {NOTHING}");
                all.push(Hostile::new(&format!("{short}-{function}-{how}"), Expect::Typed, &body).with(&fields));
            }
        }
        all
    }
}

fn core(kind: WasmType) -> &'static str {
    match kind {
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
    }
}

const LOG: &str = r#"(import "purlin:platform/log@1.0.0" "write" (func $log (param i32 i32 i32 i32 i32 i32)))"#;
const TENANT: &str = r#"(import "purlin:platform/tenancy@1.0.0" "current" (func $tenant (param i32)))"#;
const CHECK: &str =
    r#"(import "purlin:platform/access@1.0.0" "check" (func $check (param i32 i32 i32 i32) (result i32)))"#;

/// Those that were thought of one by one.
pub fn crafted() -> Vec<Hostile> {
    use Expect::{Ends, Nothing, Refused};
    let cpu = Ends("the cpu limit was met");
    let memory = Ends("the memory limit was met");
    let trap = Ends("trapped");
    let new = Hostile::new;
    let mut all = vec![
        new("loop", cpu, "(loop $l (br $l)) unreachable"),
        new("loop-in-call", cpu, "(loop $l (call $nop) (br $l)) unreachable").with("(func $nop)"),
        new("loop-of-fills", cpu, "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $l)) unreachable"),
        new("loop-of-copies", cpu, "(drop (memory.grow (i32.const 900))) (loop $l (memory.copy (i32.const 0) (i32.const 1048576) (i32.const 40000000)) (br $l)) unreachable"),
        new("loop-of-grows", cpu, "(loop $l (drop (memory.grow (i32.const 0))) (br $l)) unreachable"),
        new("recursion", Ends("call stack exhausted"), "(call $deep (i64.const 0)) drop (i32.const 32)")
            .with("(func $deep (param i64) (result i64) (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))"),
        new("mutual-recursion", Ends("call stack exhausted"), "(call $a (i32.const 0)) (i32.const 32)").with(
            "(table 2 funcref) (elem (i32.const 0) $a $b) (type $t (func (param i32)))
             (func $a (param i32) (call_indirect (type $t) (i32.const 0) (i32.const 1)) (drop (i32.const 1)))
             (func $b (param i32) (call_indirect (type $t) (i32.const 0) (i32.const 0)) (drop (i32.const 1)))",
        ),
        new("unreachable", trap, "unreachable"),
        new("divide-by-zero", trap, "(i32.div_s (i32.const 1) (i32.const 0))"),
        new("overflow", trap, "(i32.trunc_f64_s (f64.const 1e300))"),
        new("read-beyond-memory", trap, "(i32.load (i32.const -8))"),
        new("write-beyond-memory", trap, "(i64.store (i32.const 131070) (i64.const 1)) (i32.const 32)"),
        new("copy-beyond-memory", trap, "(memory.copy (i32.const 0) (i32.const 100000) (i32.const 100000)) (i32.const 32)"),
        new("call-of-nothing", trap, "(call_indirect (param i32) (i32.const 1) (i32.const 0)) (i32.const 32)").with("(table 1 funcref)"),
        new("call-of-another-type", trap, "(call_indirect (param i64) (i64.const 1) (i32.const 0)) (i32.const 32)")
            .with("(table 1 funcref) (elem (i32.const 0) $other) (func $other (param i32))"),
        new("grow", memory, "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"),
        new("grow-at-once", memory, "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable)) (i32.const 32)"),
        Hostile {
            memories: r#"(memory (export "memory") 2) (memory $second 1) (memory $third 1)"#,
            ..new("grow-three-memories", memory, "(drop (memory.grow $second (i32.const 500))) (drop (memory.grow $third (i32.const 500)))
                (if (i32.eq (memory.grow (i32.const 500)) (i32.const -1)) (then unreachable)) (i32.const 32)")
        },
        new("grow-a-table", memory, "(if (i32.eq (table.grow $t (ref.null func) (i32.const 20000000)) (i32.const -1)) (then unreachable)) (i32.const 32)")
            .with("(table $t 1 funcref)"),
        Hostile {
            memories: r#"(memory (export "memory") 2000)"#,
            ..new("large-from-the-start", Refused("memory"), "(i32.const 32)")
        },
        new("many-tables", Refused("table"), "(i32.const 32)").with(&"(table 1 funcref)\n".repeat(40)),
        new("loop-at-the-start", Refused("limit was met"), "(i32.const 32)").with("(func $start (loop $l (br $l))) (start $start)"),
        new("trap-at-the-start", Refused("describe"), "(i32.const 32)").with("(func $start unreachable) (start $start)"),
        Hostile { describe: Some("(i32.const -4)"), ..new("description-beyond-memory", Refused("describe"), "(i32.const 32)") },
        Hostile { describe: Some("(i32.const 17)"), ..new("description-out-of-line", Refused("describe"), "(i32.const 32)") },
        Hostile {
            describe: Some("(i32.store (i32.const 16) (i32.const 2000)) (i32.store (i32.const 20) (i32.const 9)) (i32.const 16)"),
            ..new("description-of-nothing", Refused("JSON"), "(i32.const 32)")
        },
        Hostile {
            describe: Some("(drop (memory.grow (i32.const 100))) (i32.store (i32.const 20) (i32.const 6000000)) (i32.const 16)"),
            ..new("description-too-long", Refused("describe"), "(i32.const 32)")
        },
        Hostile { describe: Some("(loop $l (br $l)) unreachable"), ..new("description-never", Refused("limit was met"), "(i32.const 32)") },
        Hostile { realloc: Some("(loop $l (br $l)) unreachable"), ..new("realloc-never", cpu, "(i32.const 32)") },
        Hostile { realloc: Some("unreachable"), ..new("realloc-traps", trap, "(i32.const 32)") },
        Hostile { realloc: Some("(i32.const -16)"), ..new("realloc-beyond-memory", trap, "(i32.const 32)") },
        Hostile {
            realloc: Some("(call $log (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 65536)"),
            ..new("realloc-calls-the-host", trap, "(i32.const 32)").with(LOG)
        },
        Hostile {
            realloc: Some("(drop (call $run (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (i32.const 65536)"),
            ..new("realloc-calls-itself", Ends("call stack exhausted"), "(call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16))")
        },
        new("loop-after-the-end", cpu, "(i32.const 32)").with(&format!(
            "(func (export \"cabi_post_{GUEST}#handle-request\") (param i32) (loop $l (br $l)))"
        )),
        new("trap-after-the-end", trap, "(i32.const 32)")
            .with(&format!("(func (export \"cabi_post_{GUEST}#handle-request\") (param i32) unreachable)")),
        new("result-beyond-memory", trap, "(i32.const -4)"),
        new("result-out-of-line", trap, "(i32.const 33)"),
        new("result-of-no-kind", trap, "(i32.store8 (i32.const 32) (i32.const 9)) (i32.const 32)"),
        new("failure-of-no-kind", trap, "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store8 (i32.const 36) (i32.const 99)) (i32.const 32)"),
    ];
    all.extend(schemas());
    all.extend(pretenders());
    // `err(conflict(text))`, the text there and as long as it says.
    let reject = |name: &str, expect, at: u32, length: u32| {
        let body = format!(
            "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store8 (i32.const 36) (i32.const 3))
             (i32.store (i32.const 40) (i32.const {at})) (i32.store (i32.const 44) (i32.const {length})) (i32.const 32)"
        );
        new(name, expect, &body).with("(data (i32.const 2048) \"\\ff\\fe\\00\\80\")")
    };
    all.extend([
        reject("failure-not-text", trap, 2_048, 4),
        reject("failure-beyond-memory", trap, 0xffff_fff0, 64),
        reject("failure-of-a-gibibyte", trap, 2_048, 1 << 30),
    ]);
    let log = |name: &str, expect, arguments: &str| {
        new(name, expect, &format!("(call $log {arguments}) (i32.const 32)")).with(LOG)
    };
    all.extend([
        log("log-of-no-level", trap, "(i32.const 9) (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)"),
        log("log-not-text", trap, "(i32.const 1) (i32.const 0) (i32.const 4) (i32.const 2) (i32.const 0) (i32.const 0)"),
        log("log-beyond-memory", trap, "(i32.const 1) (i32.const -8) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0)"),
        log("log-of-a-gibibyte", trap, "(i32.const 1) (i32.const 0) (i32.const 1073741824) (i32.const 0) (i32.const 0) (i32.const 0)"),
        new("log-of-five-mebibytes", Ends("the call_bytes limit was met"),
            "(drop (memory.grow (i32.const 100))) (call $log (i32.const 1) (i32.const 65536) (i32.const 5242880) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 32)").with(LOG),
        new("log-of-three-mebibytes-again-and-again", Ends("the lifted_bytes limit was met"),
            "(drop (memory.grow (i32.const 100))) (loop $l (call $log (i32.const 1) (i32.const 131072) (i32.const 3145728) (i32.const 0) (i32.const 0) (i32.const 0)) (br $l)) unreachable").with(LOG),
        new("log-with-control-characters", Nothing, "(call $log (i32.const 1) (i32.const 2048) (i32.const 12) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 32)")
            .with(&format!("{LOG}\n(data (i32.const 2048) \"a\\0d\\0ab\\1b[31mc\\00d\")")),
        new("flood-of-lines", Ends("the host_calls limit was met"),
            "(loop $l (call $log (i32.const 1) (i32.const 1024) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0)) (br $l)) unreachable").with(LOG),
        new("flood-of-calls", Ends("the host_calls limit was met"),
            "(loop $l (drop (call $check (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1))) (br $l)) unreachable").with(CHECK),
        new("result-into-nowhere", trap, "(call $tenant (i32.const -4)) (i32.const 32)").with(TENANT),
        new("result-out-of-its-line", trap, "(call $tenant (i32.const 33)) (i32.const 32)").with(TENANT),
        new("what-was-left-behind", Nothing,
            "(if (i32.ne (i32.load (i32.const 100000)) (i32.const 0)) (then unreachable)) (i32.store (i32.const 100000) (i32.const 7)) (i32.const 32)"),
    ]);
    all
}

/// Schemas that a validator would be busy with for ever, or that take all memory to compile.
fn schemas() -> Vec<Hostile> {
    let collection = |name: &str, word, schema: Value| {
        Hostile::declaring(name, word, "collections", &json!([{ "name": "c", "schema": schema }]))
    };
    let mut doubling = serde_json::Map::from_iter([("a0".to_owned(), json!({ "type": "object" }))]);
    for i in 1..=40 {
        let before = json!({ "$ref": format!("#/$defs/a{}", i - 1) });
        doubling.insert(format!("a{i}"), json!({ "allOf": [before, before] }));
    }
    let large = r"((\w{100}){100}){10}";
    let many: Vec<Value> = (0..120).map(|i| json!({ "pattern": format!("^(a|b){{{i}}}$") })).collect();
    let text =
        |pattern: &str| json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": pattern } } });
    vec![
        collection(
            "schema-that-doubles",
            "expands",
            json!({ "$defs": doubling, "$ref": "#/$defs/a40", "properties": {} }),
        ),
        collection("schema-of-itself", "refers to itself", json!({ "allOf": [{ "$ref": "#" }], "properties": {} })),
        collection(
            "schema-from-elsewhere",
            "JSON Pointer",
            json!({ "$ref": "https://example.org/s", "properties": {} }),
        ),
        collection("pattern-of-a-gigabyte", "too large", text(large)),
        collection("pattern-that-looks-back", "regular expression", text(r"(a+)+\1$")),
        collection("patterns-without-end", "patterns", json!({ "allOf": many, "properties": {} })),
        Hostile::declaring(
            "schemas-without-end",
            "in all",
            "collections",
            &json!(
                (0..40)
                    .map(|i| json!({ "name": format!("c{i}"), "schema": { "properties": {}, "anyOf": (0..10)
                .map(|j| json!({ "pattern": format!("^(a|b){{{}}}$", i * 10 + j) })).collect::<Vec<_>>() } }))
                    .collect::<Vec<_>>()
            ),
        ),
        collection(
            "format-of-ones-own",
            "use one of",
            json!({ "properties": { "a": { "type": "string", "format": "e-mail" } } }),
        ),
        Hostile::declaring(
            "default-that-is-not-good",
            "/settings/properties/a/default",
            "settings",
            &json!({ "type": "object", "properties": { "a": { "type": "integer", "default": "x" } } }),
        ),
        Hostile::declaring("text-with-a-nul", "U+0000", "description", &json!("a\u{0}b")),
        Hostile::declaring("settings-of-a-gigabyte", "too large", "settings", &text(large)),
    ]
}

/// Plugins that call themselves by names of the platform's, or ask for what there is not.
fn pretenders() -> Vec<Hostile> {
    let named = |name: &str| Hostile {
        name: name.to_owned(),
        ..Hostile::new("pretender", Expect::Refused("cannot be a plugin's name"), "(i32.const 32)")
    };
    let asking = |name: &str, wanted: &str| Hostile::declaring(name, "/requests/0", "requests", &json!([wanted]));
    vec![
        named("webhook"),
        named("schedule"),
        named("audit"),
        asking("requests-of-everything", "*:*"),
        asking("requests-of-the-unknown", "users:rule"),
        asking("requests-of-an-unknown-resource", "secrets:read"),
    ]
}
