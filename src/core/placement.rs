//! Where a child runs: pod templates merged, and the platform's own demands on top.
//!
//! Layers, the most specific last: Tekton's default pod template, the PipelineRun's, the PipelineRun's for this task, the build's,
//! and the exceptions that apply. Tekton itself would replace whole fields (Tekton `pkg/apis/pipeline/pod/template.go`,
//! `MergePodTemplateWithDefault`), so that a build's own node selector would throw away the cluster's; here maps merge by key and
//! lists whose items have names by name.

use serde_json::{Map, Value, json};

use super::path::Path;
use super::platform::Platform;
use super::problem::{Problem, Reason};
use crate::api::kubernetes::{LABEL_ARCH, LABEL_ARCH_BETA, LABEL_OS};

/// The older name of [`LABEL_OS`].
const LABEL_OS_BETA: &str = "beta.kubernetes.io/os";

/// Taints by which clusters keep ordinary pods off nodes of a foreign architecture: GKE's, and the one in OpenShift's
/// documentation.
pub const ARCH_TAINTS: [&str; 2] = [LABEL_ARCH, "multi-arch.openshift.io/arch"];

/// A pod template and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The template, with its variables replaced.
    pub template: &'a Value,
    /// Where it stands, for the complaint about a selector that contradicts the platform. `None` for templates that speak of all
    /// tasks of a pipeline: there the platform simply wins.
    pub place: Option<Path<'a>>,
}

/// Merges pod templates, lowest layer first, and places the result on nodes of `platform`.
///
/// A `nodeSelector` is used and not an affinity, because GKE adds its toleration, and OpenShift's multiarch tuning operator
/// leaves a pod alone, only when they see one.
///
/// # Errors
/// A selector that asks for another operating system or architecture: both are named.
pub fn place(layers: &[Layer<'_>], platform: &Platform) -> Result<Value, Problem> {
    for layer in layers {
        if let Some(place) = &layer.place {
            contradiction(layer.template, platform, place)?;
        }
    }
    let mut merged = merge(layers);
    demand(&mut merged, platform);
    Ok(Value::Object(merged))
}

/// Merges pod templates, lowest layer first.
pub fn merge(layers: &[Layer<'_>]) -> Map<String, Value> {
    let mut merged = Map::new();
    for layer in layers {
        if let Value::Object(template) = layer.template {
            for (field, value) in template {
                merge_field(&mut merged, field, value);
            }
        }
    }
    merged
}

/// Merges one field of a pod template over what is there.
fn merge_field(merged: &mut Map<String, Value>, field: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    let Some(below) = merged.get_mut(field) else {
        merged.insert(field.to_owned(), value.clone());
        return;
    };
    match (field, below, value) {
        ("nodeSelector", Value::Object(below), Value::Object(value)) => {
            below.extend(value.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        // A toleration only ever allows more, so all of them hold.
        ("tolerations" | "topologySpreadConstraints", Value::Array(below), Value::Array(value)) => {
            append(below, value);
        }
        ("env" | "volumes" | "imagePullSecrets", Value::Array(below), Value::Array(value)) => {
            by_key(below, value, "name");
        }
        ("hostAliases", Value::Array(below), Value::Array(value)) => by_key(below, value, "ip"),
        (_, below, value) => *below = value.clone(),
    }
}

/// Adds the items that are not there yet.
fn append(below: &mut Vec<Value>, items: &[Value]) {
    for item in items {
        if !below.contains(item) {
            below.push(item.clone());
        }
    }
}

/// Replaces items by their name and adds the others.
pub fn by_key(below: &mut Vec<Value>, items: &[Value], key: &str) {
    for item in items {
        match below.iter_mut().find(|there| there.get(key).is_some() && there.get(key) == item.get(key)) {
            Some(there) => *there = item.clone(),
            None => below.push(item.clone()),
        }
    }
}

/// Puts the platform's node labels and tolerations into a pod template.
fn demand(template: &mut Map<String, Value>, platform: &Platform) {
    let selector = template.entry("nodeSelector").or_insert_with(|| json!({}));
    if let Value::Object(selector) = selector {
        // The old labels would only repeat, or contradict, the new ones.
        selector.remove(LABEL_ARCH_BETA);
        selector.remove(LABEL_OS_BETA);
        selector.insert(LABEL_OS.to_owned(), platform.os().into());
        selector.insert(LABEL_ARCH.to_owned(), platform.arch().into());
    }
    let tolerations = template.entry("tolerations").or_insert_with(|| json!([]));
    if let Value::Array(tolerations) = tolerations {
        for key in ARCH_TAINTS {
            let toleration = json!({"key": key, "operator": "Equal", "value": platform.arch()});
            if !tolerations.contains(&toleration) {
                tolerations.push(toleration);
            }
        }
    }
}

/// Finds a node selector, or a required node affinity, under which no node of the platform can be chosen.
fn contradiction(template: &Value, platform: &Platform, place: &Path<'_>) -> Result<(), Problem> {
    let wanted = |label: &str| match label {
        LABEL_ARCH | LABEL_ARCH_BETA => Some(platform.arch()),
        LABEL_OS | LABEL_OS_BETA => Some(platform.os()),
        _ => None,
    };
    if let Some(Value::Object(selector)) = template.get("nodeSelector") {
        for (label, value) in selector {
            if let (Some(wanted), Some(value)) = (wanted(label), value.as_str())
                && wanted != value
            {
                return Err(Problem::new(
                    Reason::SelectorContradictsPlatform,
                    &place.field("nodeSelector").field(label),
                    format!(
                        "the selector asks for {value:?}, but the platform runs on {platform}; leave {label} out, since each platform gets its own, or set runsOn"
                    ),
                ));
            }
        }
    }
    let terms = template
        .get("affinity")
        .and_then(|affinity| affinity.get("nodeAffinity"))
        .and_then(|affinity| affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
        .and_then(|required| required.get("nodeSelectorTerms"))
        .and_then(Value::as_array);
    let Some(terms) = terms.filter(|terms| !terms.is_empty()) else { return Ok(()) };
    // Terms are alternatives: one that fits is enough.
    let fits = |term: &Value| {
        term.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().all(|expression| {
            let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let Some(wanted) = wanted(text("key")) else { return true };
            let listed = expression
                .get("values")
                .and_then(Value::as_array)
                .is_some_and(|values| values.iter().any(|value| value.as_str() == Some(wanted)));
            match text("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "DoesNotExist" => false,
                _ => true,
            }
        })
    };
    if terms.iter().any(fits) {
        return Ok(());
    }
    Err(Problem::new(
        Reason::SelectorContradictsPlatform,
        &place.field("affinity").field("nodeAffinity"),
        format!(
            "the required node affinity leaves no node for {platform}; leave operating system and architecture out of it, since each platform gets its own"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm64() -> Platform {
        Platform::parse("linux/arm64").unwrap()
    }

    fn merge(layers: &[Value]) -> Value {
        let layers: Vec<Layer<'_>> = layers
            .iter()
            .map(|template| Layer { template, place: Some(Path::root("podTemplate")) })
            .collect();
        place(&layers, &arm64()).unwrap()
    }

    #[test]
    fn a_child_without_any_template_is_placed() {
        assert_eq!(
            merge(&[]),
            json!({
                "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"},
                "tolerations": [
                    {"key": "kubernetes.io/arch", "operator": "Equal", "value": "arm64"},
                    {"key": "multi-arch.openshift.io/arch", "operator": "Equal", "value": "arm64"},
                ],
            })
        );
    }

    #[test]
    fn layers_merge_field_by_field() {
        let merged = merge(&[
            json!({
                "nodeSelector": {"pool": "shared", "zone": "a"},
                "tolerations": [{"key": "ci"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
                "volumes": [{"name": "cache", "emptyDir": {}}],
                "securityContext": {"fsGroup": 1, "runAsUser": 1},
                "imagePullSecrets": [{"name": "x"}],
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
                "runtimeClassName": "gvisor",
                "affinity": {"podAffinity": {}},
            }),
            json!({
                "nodeSelector": {"pool": "build"},
                "tolerations": [{"key": "ci"}, {"key": "gpu"}],
                "env": [{"name": "B", "value": "2"}, {"name": "C", "value": "2"}],
                "volumes": [{"name": "cache", "emptyDir": {"medium": "Memory"}}],
                "securityContext": {"fsGroup": 2},
                "imagePullSecrets": [{"name": "y"}],
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["b"]}, {"ip": "10.0.0.2", "hostnames": ["c"]}],
                "runtimeClassName": null,
            }),
        ]);
        assert_eq!(
            merged["nodeSelector"],
            json!({"pool": "build", "zone": "a", "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"})
        );
        let keys: Vec<&str> =
            merged["tolerations"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["ci", "gpu", "kubernetes.io/arch", "multi-arch.openshift.io/arch"]);
        assert_eq!(
            merged["env"],
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "2"}])
        );
        assert_eq!(merged["volumes"], json!([{"name": "cache", "emptyDir": {"medium": "Memory"}}]));
        assert_eq!(merged["securityContext"], json!({"fsGroup": 2}), "a structure is replaced as a whole");
        assert_eq!(merged["imagePullSecrets"], json!([{"name": "x"}, {"name": "y"}]));
        assert_eq!(merged["hostAliases"].as_array().unwrap().len(), 2);
        assert_eq!(merged["hostAliases"][0]["hostnames"], json!(["b"]));
        assert_eq!(merged["runtimeClassName"], "gvisor", "null says nothing");
        assert_eq!(merged["affinity"], json!({"podAffinity": {}}));
    }

    /// A template whose required node affinity says this of the architecture.
    fn required(expression: &Value) -> Value {
        let mut expression = expression.clone();
        expression["key"] = LABEL_ARCH.into();
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [expression]},
        ]}}}})
    }

    #[test]
    fn a_selector_that_contradicts_names_both() {
        for (template, part) in [
            (
                json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}}),
                r#"podTemplate.nodeSelector["kubernetes.io/arch"]: the selector asks for "amd64", but the platform runs on linux/arm64"#,
            ),
            (json!({"nodeSelector": {"beta.kubernetes.io/arch": "amd64"}}), "beta.kubernetes.io/arch"),
            (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), r#"asks for "windows""#),
            (
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "s390x"]}]},
                ]}}}}),
                "leaves no node for linux/arm64",
            ),
            (
                required(&json!({"operator": "NotIn", "values": ["arm64", "s390x"]})),
                "leaves no node for linux/arm64",
            ),
            (required(&json!({"operator": "DoesNotExist"})), "leaves no node for linux/arm64"),
        ] {
            let layer = Layer { template: &template, place: Some(Path::root("podTemplate")) };
            let problem = place(&[layer], &arm64()).unwrap_err();
            assert_eq!(problem.reason, Reason::SelectorContradictsPlatform);
            assert!(problem.to_string().contains(part), "{problem}");
        }
    }

    #[test]
    fn a_selector_that_agrees_is_kept() {
        for template in [
            required(&json!({"operator": "NotIn", "values": ["amd64"]})),
            required(&json!({"operator": "Exists"})),
            json!({"nodeSelector": {"kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "arm64"}}),
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["amd64"]}, {"key": "x", "operator": "Exists"}]},
            ]}}}}),
        ] {
            let layer = Layer { template: &template, place: Some(Path::root("podTemplate")) };
            let placed = place(&[layer], &arm64()).unwrap();
            assert_eq!(
                placed["nodeSelector"],
                json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"})
            );
        }
    }

    #[test]
    fn the_platform_wins_over_what_is_said_of_a_whole_pipeline() {
        let template = json!({"nodeSelector": {"kubernetes.io/arch": "amd64", "pool": "ci"}});
        let placed = place(&[Layer { template: &template, place: None }], &arm64()).unwrap();
        assert_eq!(
            placed["nodeSelector"],
            json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", "pool": "ci"})
        );
    }
}
