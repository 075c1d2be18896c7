//! Checks the shape of a spec, field by field, against the schema that the API server has.
//!
//! An embedded spec reaches us as raw JSON that nobody has looked at (Tekton copies `taskSpec.spec` verbatim), so a typing error
//! in a field's name would silently do nothing. The same schema that the CRD carries is applied here, and every fault is found at
//! once, not only the first.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use serde_json::Value;

use super::nearest;
use super::path::Path;
use super::problem::{Problem, Reason};
use crate::api::multiarchbuild::MultiArchBuild;

/// A schema, boiled down to what is checked.
#[derive(Debug)]
enum Shape {
    Any,
    Text { one_of: Vec<String>, non_empty: bool },
    Integer { least: Option<i64> },
    Boolean,
    List { item: Box<Shape>, least: i64, most: Option<i64> },
    Map(Box<Shape>),
    Object { fields: BTreeMap<String, Shape>, required: Vec<String>, open: bool },
}

static SPEC: LazyLock<Shape> = LazyLock::new(|| {
    let crd = MultiArchBuild::crd();
    let mut shape = crd
        .spec
        .versions
        .first()
        .and_then(|version| {
            version.schema.as_ref()?.open_api_v3_schema.as_ref()?.properties.as_ref()?.get("spec")
        })
        .map_or(Shape::Any, compile);
    // That platforms are missing, or none is listed, has a reason of its own and is found where they are read.
    if let Shape::Object { fields, required, .. } = &mut shape {
        required.retain(|name| name != "platforms");
        if let Some(Shape::List { least, .. }) = fields.get_mut("platforms") {
            *least = 0;
        }
    }
    shape
});

/// Finds everything in the spec of a `MultiArchBuild` that has the wrong shape: unknown fields, wrong types, missing or empty
/// fields. What it lets pass can be decoded.
pub fn check(spec: &Value, path: &Path<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(&SPEC, spec, path, &mut problems);
    problems
}

fn compile(schema: &JSONSchemaProps) -> Shape {
    let open = schema.x_kubernetes_preserve_unknown_fields == Some(true);
    match schema.type_.as_deref() {
        Some("string") => Shape::Text {
            one_of: schema
                .enum_
                .iter()
                .flatten()
                .filter_map(|allowed| allowed.0.as_str().map(str::to_owned))
                .collect(),
            non_empty: schema.min_length.is_some_and(|length| length > 0),
        },
        #[allow(clippy::cast_possible_truncation, reason = "bounds in the schema are small whole numbers")]
        Some("integer") => Shape::Integer { least: schema.minimum.map(|least| least as i64) },
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List {
            item: Box::new(match &schema.items {
                Some(JSONSchemaPropsOrArray::Schema(item)) => compile(item),
                _ => Shape::Any,
            }),
            least: schema.min_items.unwrap_or(0),
            most: schema.max_items,
        },
        Some("object") => match (&schema.properties, &schema.additional_properties) {
            (None, Some(JSONSchemaPropsOrBool::Schema(item))) => Shape::Map(Box::new(compile(item))),
            (properties, _) => Shape::Object {
                fields: properties
                    .iter()
                    .flatten()
                    .map(|(name, schema)| (name.clone(), compile(schema)))
                    .collect(),
                required: schema.required.clone().unwrap_or_default(),
                open,
            },
        },
        _ => Shape::Any,
    }
}

fn walk(shape: &Shape, value: &Value, path: &Path<'_>, problems: &mut Vec<Problem>) {
    let mut wrong = |message: String| problems.push(Problem::new(Reason::InvalidField, path, message));
    match (shape, value) {
        // The API server drops a null where a field is not nullable, and so does the decoder.
        (Shape::Any, _) | (_, Value::Null) | (Shape::Boolean, Value::Bool(_)) => {}
        (Shape::Text { one_of, non_empty }, Value::String(text)) => {
            if *non_empty && text.is_empty() {
                wrong("must not be empty".to_owned());
            } else if !one_of.is_empty() && !one_of.contains(text) {
                wrong(format!("{text:?} is not allowed; write one of {}", one_of.join(", ")));
            }
        }
        (Shape::Integer { least }, Value::Number(number)) => match (number.as_i64(), least) {
            (None, _) => wrong(format!("{number} is no whole number")),
            (Some(number), Some(least)) if number < *least => {
                wrong(format!("{number} is too small; the least is {least}"));
            }
            _ => {}
        },
        (Shape::List { item, least, most }, Value::Array(items)) => {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            if count < *least {
                wrong(format!("has {count} items and needs {least}"));
            }
            if let Some(most) = most
                && count > *most
            {
                wrong(format!("has {count} items; the most is {most}"));
            }
            for (index, value) in items.iter().enumerate() {
                walk(item, value, &path.index(index), problems);
            }
        }
        (Shape::Map(item), Value::Object(fields)) => {
            for (name, value) in fields {
                walk(item, value, &path.field(name), problems);
            }
        }
        (Shape::Object { fields, required, open }, Value::Object(given)) => {
            for (name, value) in given {
                match fields.get(name) {
                    Some(shape) => walk(shape, value, &path.field(name), problems),
                    None if *open => {}
                    None => problems.push(unknown_field(name, fields, path)),
                }
            }
            for name in required {
                if given.get(name).is_none_or(Value::is_null) {
                    problems.push(Problem::new(
                        Reason::InvalidField,
                        path,
                        format!("{name} is missing; it is required here"),
                    ));
                }
            }
        }
        (shape, value) => wrong(format!("{} is wanted here, and this is {}", wanted(shape), found(value))),
    }
}

fn unknown_field(name: &str, fields: &BTreeMap<String, Shape>, path: &Path<'_>) -> Problem {
    let hint = match nearest::to(name, fields.keys().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            format!("known here are {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    };
    Problem::new(Reason::UnknownField, &path.field(name), format!("unknown field; {hint}"))
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any => "anything",
        Shape::Text { .. } => "a string",
        Shape::Integer { .. } => "a whole number",
        Shape::Boolean => "true or false",
        Shape::List { .. } => "a list",
        Shape::Map(_) | Shape::Object { .. } => "an object",
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: &Value) -> Vec<String> {
        check(spec, &Path::root("spec"))
            .iter()
            .map(|problem| format!("{} {problem}", problem.reason))
            .collect()
    }

    #[test]
    fn takes_what_is_right() {
        let spec = json!({
            "params": [{"name": "image", "type": "string", "default": 3}],
            "platforms": ["linux/amd64", {"platform": "linux/arm64", "required": false}],
            "taskRef": {"resolver": "git", "params": [{"name": "url", "value": "x"}]},
            "taskSpec": null,
            "taskRunTemplate": {"podTemplate": {"nodeSelector": {"pool": "build"}, "tolerations": [{"key": "x"}]}},
            "strategy": {"failFast": false, "maxParallel": 2},
            "index": {"image": "x", "annotations": {"a.b/c": "d"}},
        });
        assert_eq!(told(&spec), Vec::<String>::new());
    }

    #[test]
    fn finds_every_fault_at_once() {
        let spec = json!({
            "platfroms": ["linux/amd64"],
            "platforms": "linux/amd64",
            "taskRef": {"nam": "x"},
            "tasks": [{"taskRef": {"name": "x"}}],
            "strategy": {"failFast": "yes", "maxParallel": -1},
            "taskRunTemplate": {"podTemplate": {"nodeSelectors": {}, "nodeSelector": {"a": 1}}},
            "index": {"image": "", "format": "tar"},
            "frobnicate": 1,
        });
        let told = told(&spec);
        for part in [
            "UnknownField spec.platfroms: unknown field; did you mean platforms?",
            r#"InvalidField spec.platforms: a list is wanted here, and this is the string "linux/amd64""#,
            "UnknownField spec.taskRef.nam: unknown field; did you mean name?",
            "InvalidField spec.tasks[0]: name is missing; it is required here",
            r#"InvalidField spec.strategy.failFast: true or false is wanted here, and this is the string "yes""#,
            "InvalidField spec.strategy.maxParallel: -1 is too small; the least is 0",
            "UnknownField spec.taskRunTemplate.podTemplate.nodeSelectors: unknown field; did you mean nodeSelector?",
            "InvalidField spec.taskRunTemplate.podTemplate.nodeSelector.a: a string is wanted here, and this is the number 1",
            "InvalidField spec.index.image: must not be empty",
            r#"InvalidField spec.index.format: "tar" is not allowed; write one of oci, docker"#,
            "UnknownField spec.frobnicate: unknown field; known here are index, params, platforms, strategy, taskRef, taskRunSpecs, taskRunTemplate, taskSpec, tasks, workspaces",
        ] {
            assert!(told.iter().any(|line| line == part), "missing: {part}\nin: {told:#?}");
        }
        assert_eq!(told.len(), 11, "{told:#?}");
    }

    #[test]
    fn a_text_may_be_empty_unless_a_length_is_asked_for() {
        for (least, non_empty) in [(None, false), (Some(0), false), (Some(1), true)] {
            let schema = JSONSchemaProps {
                type_: Some("string".to_owned()),
                min_length: least,
                ..JSONSchemaProps::default()
            };
            let shape = compile(&schema);
            assert!(matches!(shape, Shape::Text { non_empty: found, .. } if found == non_empty), "{least:?}");
        }
    }

    #[test]
    fn takes_no_scalar_for_a_spec() {
        assert_eq!(told(&json!("x")).len(), 1);
        assert_eq!(told(&json!([1])).len(), 1);
    }
}
