//! Memory of one invocation: every linear memory and table together.

use wasmtime::ResourceLimiter;

const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Refuses growth beyond the limit, over all memories and tables.
pub(crate) struct Limiter {
    used: usize,
    max: usize,
    /// Whether something was refused.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: 0, max, refused: false }
    }

    /// Bytes in use: the most there ever were, since nothing shrinks.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, by: usize) -> bool {
        let wanted = self.used.saturating_add(by);
        if wanted > self.max {
            self.refused = true;
            return false;
        }
        self.used = wanted;
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_adds_up_over_all_memories() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.refused);
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }
}
