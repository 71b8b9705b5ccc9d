//! The cost of a validation: how many schemas are applied to how many values, counted without
//! applying any. Schemas that apply to one value multiply by references, and along the levels of a
//! document; a pattern takes a time for each byte that grows with its compiled size.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode_str;
use purlin_domain::{Json, error::Violation};

use super::{PATTERN_BYTES_MAX, build};

/// Steps of one validation at most; the slowest ones take a good 100 ns each.
pub(super) const STEPS_MAX: u64 = 500_000;
/// Steps for one value, without what is below it, at most.
const EXPANDED_MAX: u64 = 20_000;
/// Subschemas, and patterns among them, of one schema at most.
const NODES_MAX: usize = 5_000;
const PATTERNS_MAX: usize = 100;

/// The formats of JSON Schema 2020-12, which are checked.
const FORMATS: [&str; 19] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// What a schema applies to what, its subschemas in an order in which each comes after those
/// that apply it to the same value.
pub(super) struct Plan {
    nodes: Vec<Node>,
    root: usize,
    /// How many patterns it has.
    patterns: usize,
    /// The formats that it names, with their places.
    formats: Vec<(String, String)>,
}

/// A subschema.
#[derive(Default)]
struct Node {
    /// Where it is.
    pointer: String,
    /// Steps for one value.
    weight: u64,
    /// Steps for each byte of a text.
    per_byte: u64,
    /// Whether all items are compared with each other.
    is_unique: bool,
    /// Subschemas of the same value.
    here: Vec<usize>,
    properties: HashMap<String, usize>,
    /// Steps for each byte of a name, and the subschema.
    patterns: Vec<(u64, usize)>,
    additional: Option<usize>,
    names: Option<usize>,
    prefix: Vec<usize>,
    items: Option<usize>,
    /// Subschemas of every item or property.
    every: Vec<usize>,
    /// Whether it asks which properties or items other subschemas have looked at.
    is_unevaluated: bool,
    /// Steps for one value and for each byte of a text, with those of the same value.
    expanded: u64,
    expanded_per_byte: u64,
}

impl Node {
    fn goes_deeper(&self) -> bool {
        !self.properties.is_empty()
            || !self.patterns.is_empty()
            || !self.prefix.is_empty()
            || !self.every.is_empty()
            || self.additional.is_some()
            || self.names.is_some()
            || self.items.is_some()
    }

    /// Each place that names another subschema.
    fn references(&mut self) -> impl Iterator<Item = &mut usize> {
        let lists = self.here.iter_mut().chain(&mut self.prefix).chain(&mut self.every);
        let named = self.properties.values_mut().chain(self.patterns.iter_mut().map(|(_, node)| node));
        lists.chain(named).chain(&mut self.additional).chain(&mut self.names).chain(&mut self.items)
    }
}

impl Plan {
    /// The plan of a schema; what is wrong with it otherwise.
    pub(super) fn of(schema: &Json) -> Result<Self, Vec<Violation>> {
        let mut builder = Builder {
            schema,
            nodes: Vec::new(),
            known: HashMap::new(),
            patterns: HashMap::new(),
            formats: Vec::new(),
            wrong: Vec::new(),
        };
        let root = builder.node(String::new());
        let mut next = 0;
        while next < builder.nodes.len() && builder.wrong.is_empty() {
            builder.read(next);
            next += 1;
        }
        if !builder.wrong.is_empty() {
            return Err(builder.wrong);
        }
        let mut plan = Self { nodes: builder.nodes, root, patterns: builder.patterns.len(), formats: builder.formats };
        plan.sort()?;
        plan.expand()?;
        Ok(plan)
    }

    /// Bring the subschemas into an order in which each comes after those that apply it to the
    /// same value.
    fn sort(&mut self) -> Result<(), Vec<Violation>> {
        let mut waits_for = vec![0_usize; self.nodes.len()];
        for node in &self.nodes {
            for here in &node.here {
                if let Some(count) = waits_for.get_mut(*here) {
                    *count += 1;
                }
            }
        }
        let mut free: Vec<usize> = (0..self.nodes.len()).filter(|i| waits_for.get(*i) == Some(&0)).collect();
        let mut place = vec![None; self.nodes.len()];
        let mut placed = 0;
        while let Some(node) = free.pop() {
            if let Some(slot) = place.get_mut(node) {
                *slot = Some(placed);
            }
            placed += 1;
            for here in self.nodes.get(node).map(|node| node.here.as_slice()).unwrap_or_default() {
                if let Some(count) = waits_for.get_mut(*here) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(*here);
                    }
                }
            }
        }
        let at = |node: usize| place.get(node).copied().flatten();
        if let Some((_, stuck)) = self.nodes.iter().enumerate().find(|(i, _)| at(*i).is_none()) {
            let why = "this refers to itself without going into the value, so it would never end";
            return Err(vec![Violation::new(stuck.pointer.clone(), "schema", why)]);
        }
        for node in &mut self.nodes {
            node.references().for_each(|other| *other = at(*other).unwrap_or(*other));
        }
        self.root = at(self.root).unwrap_or(self.root);
        let mut numbered: Vec<(usize, Node)> = std::mem::take(&mut self.nodes)
            .into_iter()
            .enumerate()
            .map(|(i, node)| (at(i).unwrap_or(i), node))
            .collect();
        numbered.sort_by_key(|(place, _)| *place);
        self.nodes = numbered.into_iter().map(|(_, node)| node).collect();
        Ok(())
    }

    /// Add up the steps for one value, from the last subschema to the first.
    fn expand(&mut self) -> Result<(), Vec<Violation>> {
        for i in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get(i) else { continue };
            let (mut expanded, mut per_byte) = (node.weight, node.per_byte);
            for here in node.here.iter().filter_map(|here| self.nodes.get(*here)) {
                expanded = expanded.saturating_add(here.expanded);
                per_byte = per_byte.saturating_add(here.expanded_per_byte);
            }
            if expanded > EXPANDED_MAX {
                let why = format!("this expands to {expanded} steps for one value; at most {EXPANDED_MAX} are allowed");
                return Err(vec![Violation::new(node.pointer.clone(), "schema_cost", why)]);
            }
            if let Some(node) = self.nodes.get_mut(i) {
                (node.expanded, node.expanded_per_byte) = (expanded, per_byte);
            }
        }
        Ok(())
    }

    /// A format that validators do not know: it would be taken for good whatever stands there.
    pub(super) fn unknown_format(&self) -> Option<Violation> {
        let (at, _) = self.formats.iter().find(|(_, format)| !FORMATS.contains(&format.as_str()))?;
        Some(Violation::new(at.clone(), "format", format!("use one of {}", FORMATS.join(", "))))
    }

    /// How many subschemas it has, and how many patterns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.patterns)
    }

    /// How many steps the validation of a document takes; some number above [`STEPS_MAX`] where
    /// these are too many.
    pub(super) fn steps(&self, document: &Json) -> u64 {
        let mut count = Count { plan: self, steps: 0 };
        count.value(BTreeMap::from([(self.root, 1)]), document);
        count.steps
    }
}

/// A count under way.
struct Count<'a> {
    plan: &'a Plan,
    steps: u64,
}

/// Which subschemas apply to a value, each so many times.
type Applied = BTreeMap<usize, u64>;

fn apply(to: &mut Applied, node: usize, times: u64) {
    let count = to.entry(node).or_default();
    *count = count.saturating_add(times);
}

impl<'a> Count<'a> {
    fn add(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps);
    }

    fn value(&mut self, mut applied: Applied, value: &Json) {
        let mut deeper: Vec<(&'a Node, u64)> = Vec::new();
        while let Some((i, times)) = applied.pop_first() {
            if self.steps > STEPS_MAX {
                return;
            }
            let Some(node) = self.plan.nodes.get(i) else { continue };
            self.add(times.saturating_mul(of_one(node, value)));
            node.here.iter().for_each(|here| apply(&mut applied, *here, times));
            if node.goes_deeper() {
                deeper.push((node, times));
            }
        }
        if deeper.is_empty() {
            return;
        }
        match value {
            Json::Object(members) => {
                for (name, member) in members {
                    let mut applied = Applied::new();
                    deeper.iter().for_each(|(node, times)| self.member(node, *times, name, &mut applied));
                    self.value(applied, member);
                }
            }
            Json::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let mut applied = Applied::new();
                    for (node, times) in &deeper {
                        self.add(*times);
                        let own = node.prefix.get(i).or(node.items.as_ref());
                        own.into_iter().chain(&node.every).for_each(|below| apply(&mut applied, *below, *times));
                    }
                    self.value(applied, item);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, node: &Node, times: u64, name: &str, applied: &mut Applied) {
        let bytes = name.len() as u64;
        self.add(times);
        if let Some(own) = node.properties.get(name).copied().or(node.additional) {
            apply(applied, own, times);
        }
        for (per_byte, below) in &node.patterns {
            self.add(times.saturating_mul(1 + per_byte * bytes));
            apply(applied, *below, times);
        }
        if let Some(names) = node.names.and_then(|names| self.plan.nodes.get(names)) {
            self.add(times.saturating_mul(names.expanded + names.expanded_per_byte.saturating_mul(bytes)));
        }
        node.every.iter().for_each(|below| apply(applied, *below, times));
    }
}

/// Steps of one subschema at one value.
fn of_one(node: &Node, value: &Json) -> u64 {
    let of_value = match value {
        Json::String(text) => (text.len() as u64).saturating_mul(node.per_byte) + text.len() as u64 / 64,
        Json::Array(items) => {
            let compared = if node.is_unique { 8 * values(value) } else { 0 };
            compared + if node.is_unevaluated { node.expanded.saturating_mul(items.len() as u64) } else { 0 }
        }
        Json::Object(members) if node.is_unevaluated => node.expanded.saturating_mul(members.len() as u64),
        _ => 0,
    };
    node.weight.saturating_add(of_value)
}

/// How many values a document consists of.
fn values(document: &Json) -> u64 {
    match document {
        Json::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Json::Object(members) => 1 + members.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

/// A plan in the making.
struct Builder<'a> {
    schema: &'a Json,
    nodes: Vec<Node>,
    /// The node of each pointer.
    known: HashMap<String, usize>,
    /// Steps for each byte, of each pattern.
    patterns: HashMap<String, u64>,
    formats: Vec<(String, String)>,
    wrong: Vec<Violation>,
}

impl Builder<'_> {
    /// The node of the subschema at this pointer; read when its turn comes.
    fn node(&mut self, pointer: String) -> usize {
        if let Some(node) = self.known.get(&pointer) {
            return *node;
        }
        let node = self.nodes.len();
        if node == NODES_MAX {
            self.refuse(&pointer, "schema_cost", format!("a schema has at most {NODES_MAX} subschemas"));
        }
        self.nodes.push(Node { pointer: pointer.clone(), ..Node::default() });
        self.known.insert(pointer, node);
        node
    }

    fn refuse(&mut self, pointer: &str, code: &str, why: impl Into<String>) {
        if self.wrong.is_empty() {
            self.wrong.push(Violation::new(pointer, code, why));
        }
    }

    fn read(&mut self, node: usize) {
        let Some(pointer) = self.nodes.get(node).map(|node| node.pointer.clone()) else { return };
        let Some(schema) = self.schema.pointer(&pointer) else {
            return self.refuse(&pointer, "schema", "nothing is there for a reference to mean");
        };
        let mut read = Node { pointer: pointer.clone(), weight: 1, ..Node::default() };
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            self.keyword(&mut read, &pointer, keyword, value);
        }
        if let Some(slot) = self.nodes.get_mut(node) {
            *slot = read;
        }
    }

    fn keyword(&mut self, node: &mut Node, pointer: &str, keyword: &str, value: &Json) {
        let at = format!("{pointer}/{keyword}");
        let size = match value {
            Json::Array(items) if keyword == "enum" || keyword == "required" => items.len() as u64,
            Json::Object(members) if keyword == "properties" => members.len() as u64,
            _ => 1,
        };
        node.weight = node.weight.saturating_add(size);
        match keyword {
            "$ref" => node.here.extend(self.reference(&at, value)),
            "$dynamicRef" | "$recursiveRef" | "$dynamicAnchor" | "$anchor" => {
                self.refuse(&at, "schema", format!("`{keyword}` is not supported; use `$ref` with a JSON Pointer"));
            }
            "$id" if !pointer.is_empty() => self.refuse(&at, "schema", "only a whole schema has an `$id`"),
            "allOf" | "anyOf" | "oneOf" => node.here.extend(self.items(&at, value)),
            "not" | "if" | "then" | "else" => node.here.push(self.node(at)),
            "dependentSchemas" => node.here.extend(self.members(&at, value).into_iter().map(|(_, below)| below)),
            "properties" => node.properties.extend(self.members(&at, value)),
            "patternProperties" => {
                for (pattern, below) in self.members(&at, value) {
                    let at = Violation::new("", "", "").beneath(&pattern).pointer;
                    let per_byte = self.pattern(&format!("{pointer}/patternProperties{at}"), &pattern);
                    node.patterns.push((per_byte, below));
                }
            }
            "additionalProperties" => node.additional = Some(self.node(at)),
            "propertyNames" => node.names = Some(self.node(at)),
            "prefixItems" => node.prefix = self.items(&at, value),
            "items" => node.items = Some(self.node(at)),
            "contains" => node.every.push(self.node(at)),
            "unevaluatedProperties" | "unevaluatedItems" => {
                node.is_unevaluated = true;
                node.every.push(self.node(at));
            }
            "pattern" => node.per_byte += value.as_str().map_or(0, |pattern| self.pattern(&at, pattern)),
            "format" => {
                node.per_byte += 1;
                self.formats.extend(value.as_str().map(|format| (at, format.to_owned())));
            }
            "uniqueItems" => node.is_unique = *value == Json::Bool(true),
            "const" => node.weight = node.weight.saturating_add(values(value)),
            "enum" => node.weight = node.weight.saturating_add(values(value)),
            _ => {}
        }
    }

    fn items(&mut self, at: &str, value: &Json) -> Vec<usize> {
        (0..value.as_array().map_or(0, Vec::len)).map(|i| self.node(format!("{at}/{i}"))).collect()
    }

    fn members(&mut self, at: &str, value: &Json) -> Vec<(String, usize)> {
        let names = value.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        names
            .map(|name| {
                let below = Violation::new("", "", "").beneath(&name).pointer;
                (name, self.node(format!("{at}{below}")))
            })
            .collect()
    }

    fn reference(&mut self, at: &str, value: &Json) -> Option<usize> {
        let fragment = value.as_str().and_then(|reference| reference.strip_prefix('#'));
        let pointer = fragment.and_then(|text| percent_decode_str(text).decode_utf8().ok());
        match pointer.filter(|pointer| pointer.is_empty() || pointer.starts_with('/')) {
            Some(pointer) => Some(self.node(pointer.into_owned())),
            None => {
                self.refuse(at, "schema", "a `$ref` must be a JSON Pointer within the schema, such as `#/$defs/name`");
                None
            }
        }
    }

    /// Steps for each byte that a pattern is matched with, by its compiled size.
    fn pattern(&mut self, at: &str, pattern: &str) -> u64 {
        if let Some(per_byte) = self.patterns.get(pattern) {
            return *per_byte;
        }
        if self.patterns.len() == PATTERNS_MAX {
            self.refuse(at, "schema_cost", format!("a schema has at most {PATTERNS_MAX} patterns"));
            return 0;
        }
        let alone = serde_json::json!({ "pattern": pattern });
        let mut size = 1 << 10;
        let per_byte = loop {
            match build(&alone, size) {
                Ok(_) => break size as u64 >> 10,
                Err(_) if size < PATTERN_BYTES_MAX => size *= 2,
                Err(_) => {
                    // One that is written well is only too large.
                    let is_pattern = regex_syntax::Parser::new().parse(pattern).is_ok();
                    self.refuse(at, "schema_cost", if is_pattern { too_large() } else { NO_PATTERN.to_owned() });
                    break 0;
                }
            }
        };
        self.patterns.insert(pattern.to_owned(), per_byte);
        per_byte
    }
}

fn too_large() -> String {
    format!("this pattern is too large: compiled it takes more than {PATTERN_BYTES_MAX} bytes")
}

const NO_PATTERN: &str = "this is no regular expression that is matched in linear time";
