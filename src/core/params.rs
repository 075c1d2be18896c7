//! Params of a run: what is declared meets what is given.
//!
//! The rules are those of a Task's params (Tekton `docs/tasks.md`, "Specifying Parameters").

use std::collections::BTreeMap;

use super::nearest;
use super::path::Path;
use super::problem::{Problem, Reason};
use crate::api::multiarchbuild::{ParamSpec, ParamType};
use crate::api::tekton::{Param, ParamValue};

/// Gives every declared param its value, and keeps those that are given without being declared: an embedded build need not
/// declare any, and Tekton ignores params that a Task does not know.
///
/// `declared_at` and `given_at` say where the two lists stand, for the complaints.
pub fn resolve(
    declared: &[ParamSpec],
    given: &[Param],
    declared_at: &Path<'_>,
    given_at: &Path<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, ParamValue> {
    let mut params: BTreeMap<String, ParamValue> =
        given.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
    for (index, spec) in declared.iter().enumerate() {
        let path = declared_at.index(index);
        if declared[..index].iter().any(|earlier| earlier.name == spec.name) {
            problems.push(Problem::new(
                Reason::InvalidParam,
                &path,
                format!("the param {:?} is declared twice; remove one", spec.name),
            ));
            continue;
        }
        let wanted = type_of(spec);
        if let Some(default) = &spec.default
            && default.type_name() != wanted.name()
        {
            problems.push(Problem::new(
                Reason::InvalidParam,
                &path.field("default"),
                format!(
                    "the param {:?} is of type {} and its default is {}; make them agree",
                    spec.name,
                    wanted.name(),
                    default.type_name()
                ),
            ));
            continue;
        }
        match params.get_mut(&spec.name) {
            Some(value) => check(spec, wanted, value, given_at, problems),
            None => match &spec.default {
                Some(default) => {
                    params.insert(spec.name.clone(), default.clone());
                }
                None => problems.push(missing(spec, given, given_at)),
            },
        }
    }
    params
}

/// The type that a declaration means, said or not (Tekton `ParamSpec.SetDefaults`).
fn type_of(spec: &ParamSpec) -> ParamType {
    match (&spec.type_, &spec.default) {
        (Some(type_), _) => *type_,
        (None, _) if !spec.properties.is_empty() => ParamType::Object,
        (None, Some(ParamValue::Array(_))) => ParamType::Array,
        (None, Some(ParamValue::Object(_))) => ParamType::Object,
        (None, _) => ParamType::String,
    }
}

fn check(
    spec: &ParamSpec,
    wanted: ParamType,
    value: &mut ParamValue,
    given_at: &Path<'_>,
    problems: &mut Vec<Problem>,
) {
    let path = given_at.named(&spec.name);
    let mut wrong = |message: String| problems.push(Problem::new(Reason::InvalidParam, &path, message));
    if value.type_name() != wanted.name() {
        wrong(format!(
            "the param {:?} is declared as {} and given as {}; give it {}",
            spec.name,
            wanted.name(),
            value.type_name(),
            match wanted {
                ParamType::String => "a string",
                ParamType::Array => "a list of strings",
                ParamType::Object => "an object of strings",
            }
        ));
        return;
    }
    match value {
        ParamValue::String(text) if !spec.enum_.is_empty() && !spec.enum_.contains(text) => {
            wrong(format!("{text:?} is not allowed; write one of {}", spec.enum_.join(", ")));
        }
        ParamValue::Object(fields) => {
            // A key that is not given has the default's value, as in a Task.
            if let Some(ParamValue::Object(default)) = &spec.default {
                for (key, text) in default {
                    fields.entry(key.clone()).or_insert_with(|| text.clone());
                }
            }
            let absent: Vec<&str> =
                spec.properties.keys().filter(|key| !fields.contains_key(*key)).map(String::as_str).collect();
            if !absent.is_empty() {
                wrong(format!("the object lacks the keys {}", absent.join(", ")));
            }
        }
        _ => {}
    }
}

fn missing(spec: &ParamSpec, given: &[Param], given_at: &Path<'_>) -> Problem {
    let hint = match nearest::to(&spec.name, given.iter().map(|param| param.name.as_str())) {
        Some(near) => format!("did you mean it by {near:?}?"),
        None => "give it in the params of the pipeline task".to_owned(),
    };
    Problem::new(
        Reason::MissingParam,
        given_at,
        format!("the param {:?} has no value and no default; {hint}", spec.name),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(
        declared: serde_json::Value,
        given: serde_json::Value,
    ) -> (BTreeMap<String, ParamValue>, Vec<String>) {
        let declared: Vec<ParamSpec> = serde_json::from_value(declared).unwrap();
        let given: Vec<Param> = serde_json::from_value(given).unwrap();
        let mut problems = Vec::new();
        let params =
            resolve(&declared, &given, &Path::root("spec.params"), &Path::root("params"), &mut problems);
        (params, problems.iter().map(|problem| format!("{} {problem}", problem.reason)).collect())
    }

    #[test]
    fn defaults_are_filled_in_and_undeclared_params_kept() {
        let (params, problems) = run(
            json!([
                {"name": "a", "default": "x"},
                {"name": "list", "default": ["1"]},
                {"name": "o", "properties": {"k": {"type": "string"}, "l": {}}, "default": {"k": "1", "l": "2"}},
                {"name": "n", "default": 3},
                {"name": "keys", "properties": {"k": {}}},
                {"name": "mode", "enum": ["fast", "slow"]},
            ]),
            json!([
                {"name": "extra", "value": true}, {"name": "o", "value": {"k": "9"}},
                {"name": "keys", "value": {"k": "x"}}, {"name": "mode", "value": "slow"},
            ]),
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            serde_json::to_value(params).unwrap(),
            json!({
                "a": "x", "list": ["1"], "o": {"k": "9", "l": "2"}, "n": "3", "extra": "true",
                "keys": {"k": "x"}, "mode": "slow",
            })
        );
    }

    #[test]
    fn every_fault_is_named() {
        let (_, problems) = run(
            json!([
                {"name": "image"},
                {"name": "list", "type": "array"},
                {"name": "mode", "enum": ["fast", "slow"]},
                {"name": "o", "type": "object", "properties": {"k": {}}},
                {"name": "bad", "type": "array", "default": "x"},
                {"name": "mode"},
                {"name": "nothing"},
            ]),
            json!([
                {"name": "imgae", "value": "x"},
                {"name": "list", "value": "x"},
                {"name": "mode", "value": "medium"},
                {"name": "o", "value": {"l": "1"}},
            ]),
        );
        assert_eq!(
            problems,
            [
                r#"MissingParam params: the param "image" has no value and no default; did you mean it by "imgae"?"#,
                r#"InvalidParam params[list]: the param "list" is declared as array and given as string; give it a list of strings"#,
                r#"InvalidParam params[mode]: "medium" is not allowed; write one of fast, slow"#,
                r"InvalidParam params[o]: the object lacks the keys k",
                r#"InvalidParam spec.params[4].default: the param "bad" is of type array and its default is string; make them agree"#,
                r#"InvalidParam spec.params[5]: the param "mode" is declared twice; remove one"#,
                r#"MissingParam params: the param "nothing" has no value and no default; give it in the params of the pipeline task"#,
            ]
        );
    }
}
