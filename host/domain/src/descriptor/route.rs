//! The permissions and HTTP routes a plugin declares.

use serde::{Deserialize, Serialize};

use super::Descriptor;
use crate::{
    access::Permission,
    error::Violation,
    name::{is_dotted, is_word},
};

/// A permission a plugin defines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnPermission {
    /// Which, in the plugin's name space: `inventory.labels:print`.
    pub permission: Permission,
    /// What it allows, for whoever makes roles.
    #[serde(default)]
    pub description: String,
}

impl OwnPermission {
    pub(super) fn violations(&self, at: &str, of: &Descriptor) -> Option<Violation> {
        let Permission { resource, action } = &self.permission;
        let below = resource.strip_prefix(&of.name).and_then(|rest| rest.strip_prefix('.'));
        let is_own = below.is_some_and(|name| of.collection(name).is_none());
        if self.description.len() > 200 {
            return Some(Violation::new(format!("{at}/description"), "descriptor", "at most 200 bytes"));
        }
        (!(is_own && is_dotted(resource) && is_word(action))).then(|| {
            let detail = format!(
                "`{}` does not lie in the name space `{}.`, or is one of a collection",
                self.permission, of.name
            );
            Violation::new(format!("{at}/permission"), "descriptor", detail)
        })
    }
}

/// An HTTP route a plugin answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// The path below the plugin's own, its parameters in braces: `/items/{id}/label`.
    pub path: String,
    /// What a caller needs: a permission of the plugin's own.
    pub permission: Permission,
    /// What it does, in a line.
    #[serde(default)]
    pub summary: String,
    /// Headers of a request that it sees beside the usual ones, by their names: `x-shop-signature`.
    #[serde(default)]
    pub headers: Vec<String>,
}

/// The methods a route can have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Segments of a path at most.
const SEGMENTS_MAX: usize = 10;

/// Headers that a route names at most.
const HEADERS_MAX: usize = 20;
/// What proxies add, and what they obey: no plugin sees it, or sends it.
const OF_PROXIES: [&str; 10] = [
    "x-accel-",
    "x-amz",
    "x-auth",
    "x-forwarded-",
    "x-lighttpd-",
    "x-litespeed-",
    "x-real-ip",
    "x-reproxy-",
    "x-request-id",
    "x-sendfile",
];

/// Whether a header is one of those that proxies add or obey.
pub fn is_of_proxies(name: &str) -> bool {
    OF_PROXIES.iter().any(|beginning| name.starts_with(beginning))
}

fn is_own_header(name: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_plain && (3..=100).contains(&name.len()) && name.starts_with("x-") && !is_of_proxies(name)
}

impl Route {
    pub(super) fn violations(&self, at: &str, of: &Descriptor) -> Vec<Violation> {
        let checks = [
            (METHODS.contains(&self.method.as_str()), "method", format!("one of {METHODS:?}")),
            (
                self.has_sound_path(),
                "path",
                format!("`{}`: use up to {SEGMENTS_MAX} words or {{parameters}}, each after a `/`", self.path),
            ),
            (self.summary.len() <= 200, "summary", "at most 200 bytes".to_owned()),
            (
                self.headers.len() <= HEADERS_MAX && self.headers.iter().all(|name| is_own_header(name)),
                "headers",
                format!("up to {HEADERS_MAX} names in lower case that begin with `x-`, none of them a proxy's"),
            ),
            (
                of.defines(&self.permission),
                "permission",
                format!("`{}` is neither of a collection nor among `permissions`", self.permission),
            ),
        ];
        let wrong = checks.into_iter().filter(|(holds, ..)| !holds);
        wrong.map(|(_, name, detail)| Violation::new(format!("{at}/{name}"), "descriptor", detail)).collect()
    }

    /// Whether the path is words and parameters joined by slashes.
    fn has_sound_path(&self) -> bool {
        let is_literal = |s: &str| {
            (1..=60).contains(&s.len())
                && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                && !s.starts_with('.')
        };
        let is_segment =
            |s: &str| s.strip_prefix('{').and_then(|s| s.strip_suffix('}')).map_or_else(|| is_literal(s), is_word);
        self.path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').count() <= SEGMENTS_MAX && rest.split('/').all(is_segment))
    }
}
