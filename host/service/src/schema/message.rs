//! What a validator found, in the words of the API. No message repeats the caller's value, which
//! may be large, or a secret.

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use purlin_domain::{Json, error::Violation};

/// Characters of a message at most.
const CHARS_MAX: usize = 300;

/// The faults that an error of the validator stands for.
pub(super) fn of(error: &ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().as_str();
    let code = error.kind().keyword();
    let one = |detail: String| vec![Violation::new(at, code, cut(&detail))];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|name| beneath(at, name, code, "unknown property")).collect()
        }
        Kind::Required { property } => {
            vec![beneath(at, property.as_str().unwrap_or_default(), code, "this property is required")]
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => match (closest(at, context), constants(context)) {
            (_, Some(all)) => one(format!("expected one of {}", all.join(", "))),
            (Some(errors), None) => errors.iter().flat_map(of).collect(),
            (None, None) => one(format!("matches none of the {} forms that are allowed", context.len())),
        },
        Kind::Custom { message, .. } => vec![Violation::new(at, "number_range", message.clone())],
        kind => one(simple(kind).unwrap_or_else(|| error.masked_with("this value").to_string())),
    }
}

fn simple(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Type { kind } => format!("expected {}", types(kind)),
        Kind::Enum { options } => format!("expected one of {}", list(options)),
        Kind::Constant { expected_value } => format!("expected {expected_value}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::Format { format } => format!("expected the format {format}"),
        Kind::UniqueItems => "must not have the same item twice".to_owned(),
        Kind::Contains => "lacks an item that is required".to_owned(),
        Kind::FalseSchema => "is not allowed here".to_owned(),
        Kind::Not { .. } => "has a form that is not allowed".to_owned(),
        Kind::PropertyNames { error } => format!("a property's name: {}", first(&of(error))),
        _ => return None,
    })
}

fn first(found: &[Violation]) -> String {
    found.first().map(|violation| violation.detail.clone()).unwrap_or_default()
}

/// The values that are allowed, where each form is a list of values or null.
fn constants(forms: &[Vec<ValidationError<'static>>]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for error in forms.iter().flatten() {
        match error.kind() {
            Kind::Constant { expected_value } => all.push(expected_value.to_string()),
            Kind::Enum { options } => all.extend(options.as_array()?.iter().map(Json::to_string)),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => all.extend(constants(context)?),
            Kind::Type { kind: TypeKind::Single(JsonType::Null) } => {}
            _ => return None,
        }
    }
    (!all.is_empty()).then_some(all)
}

/// Of several forms the one that fits best: which has the right type, and is wrong further down.
fn closest<'a>(at: &str, forms: &'a [Vec<ValidationError<'static>>]) -> Option<&'a [ValidationError<'static>]> {
    let is_other_type = |errors: &&Vec<ValidationError<'static>>| {
        errors.iter().any(|e| e.kind().keyword() == "type" && e.instance_path().as_str() == at)
    };
    let mut fitting = forms.iter().filter(|errors| !is_other_type(errors));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn beneath(at: &str, name: &str, code: &str, detail: &str) -> Violation {
    let below = Violation::new("", code, detail).beneath(name);
    Violation { pointer: format!("{at}{}", below.pointer), ..below }
}

fn types(kind: &TypeKind) -> String {
    let name = |found: JsonType| match found {
        JsonType::Array => "an array",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "an integer",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    };
    let mut names: Vec<&str> = match kind {
        TypeKind::Single(one) => vec![name(*one)],
        TypeKind::Multiple(all) => all.iter().map(name).collect(),
    };
    // Null is the exception, wherever it was listed.
    names.sort_by_key(|name| *name == "null");
    names.join(" or ")
}

fn list(options: &Json) -> String {
    let all: Vec<String> = options.as_array().into_iter().flatten().map(Json::to_string).collect();
    all.join(", ")
}

/// At most so many characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
