//! What is left to this invocation before it meets a limit.

use crate::bindings::purlin::platform::budget as wit;

pub use wit::Allowance;

/// Every limit that is counted while the invocation runs.
pub fn remaining() -> Vec<Allowance> {
    wit::remaining()
}

/// What is left of the limit of this name, such as `cpu-ms` or `writes`; none for one that the
/// host does not count.
pub fn left(limit: &str) -> Option<u64> {
    remaining().into_iter().find(|allowance| allowance.limit == limit).map(|allowance| allowance.left)
}
