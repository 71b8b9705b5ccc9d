//! JSON Schemas of plugins: compiled once, never fetched from anywhere, their patterns
//! matched in linear time.

use jsonschema::{Draft, PatternOptions, Validator};
use purlin_domain::{Json, error::Violation};

/// Violations told of one document at most.
const TOLD_MAX: usize = 20;

/// Compile a schema, or say why it is none.
pub(crate) fn compile(schema: &Json) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}

/// What is wrong with a document.
pub(crate) fn violations(validator: &Validator, document: &Json) -> Vec<Violation> {
    let found = validator.iter_errors(document).take(TOLD_MAX);
    found
        .map(|error| Violation::new(error.instance_path().as_str(), error.kind().keyword(), error.to_string()))
        .collect()
}
