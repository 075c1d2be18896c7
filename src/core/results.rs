//! What a run reports: results, by name, complete or absent.
//!
//! | result | what it is |
//! |---|---|
//! | `linux-arm64-IMAGE_DIGEST` | every result of every platform's tasks, by the platform's key |
//! | `IMAGE_DIGEST` and so on | one value per platform as a JSON array, in platform order, where the index does not claim the name and every platform that was built has it |
//! | `PLATFORMS` | JSON array of the platforms that were built |
//! | `IMAGE_URL`, `IMAGE_DIGEST`, `IMAGE_REF`, `IMAGES` | the image index, if there is one |
//!
//! Values are strings, since a CustomRun's results are; a JSON array of strings is an array to the next task of the pipeline
//! (Tekton `pkg/reconciler/pipelinerun/resources/resultrefresolution.go`).

use std::collections::BTreeMap;

use super::index_child::{results_of, tidy};
use super::request::{Request, Target};
use crate::api::names::result;
use crate::api::status::{Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{ParamValue, RunResult};

/// The most that results and everything else in a run's status may take, in bytes: what etcd takes in one request
/// (`--max-request-bytes`, 1.5 MiB), less what the rest of the object needs.
pub const MOST_BYTES: usize = 1_400_000;

/// All results of a run. On failure, those that there are.
pub fn collect(
    request: &Request,
    platforms: &[PlatformStatus],
    index: Option<&TaskStatus>,
) -> Vec<RunResult> {
    let mut results: BTreeMap<String, String> = BTreeMap::new();
    let built: Vec<(&Target, &PlatformStatus)> = request
        .targets
        .iter()
        .zip(platforms)
        .filter(|(_, status)| status.phase == Phase::Succeeded)
        .collect();
    let names: Vec<String> = built.iter().map(|(target, _)| target.platform.to_string()).collect();
    results.insert(result::PLATFORMS.to_owned(), json(&names));
    let mut arrays: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (_, status) in &built {
        for (name, value) in results_of(status) {
            arrays.entry(name).or_default().push(text(value));
        }
    }
    for (name, values) in arrays {
        if values.len() == built.len() {
            results.insert(name.to_owned(), json(&values));
        }
    }
    if request.index.is_some() {
        // These names speak of the index, or of nothing.
        for name in [result::IMAGE_URL, result::IMAGE_DIGEST, result::IMAGE_REF, result::IMAGES] {
            results.remove(name);
        }
    }
    for written in
        index.iter().filter(|index| index.phase == Phase::Succeeded).flat_map(|index| &index.results)
    {
        // How much was moved is for the metrics, and differs from one time to the next.
        if ![result::BYTES_PUSHED, result::BYTES_SKIPPED].contains(&written.name.as_str()) {
            results.insert(written.name.clone(), text(&written.value));
        }
    }
    // The keys come last: a name like `linux-arm64-x` is never anything else.
    for (target, status) in request.targets.iter().zip(platforms) {
        let key = target.platform.key();
        for (name, value) in results_of(status) {
            results.insert([key.as_str(), "-", name].concat(), text(value));
        }
    }
    results.into_iter().map(|(name, value)| RunResult { name, value }).collect()
}

/// How many bytes results take in an object.
pub fn size(results: &[RunResult]) -> usize {
    const FRAME: usize = r#"{"name":"","value":""},"#.len();
    results.iter().map(|result| result.name.len() + result.value.len() + FRAME).sum()
}

fn text(value: &ParamValue) -> String {
    match tidy(value) {
        ParamValue::String(text) => text,
        other => other.to_string(),
    }
}

fn json(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_as_large_as_the_object_that_holds_them() {
        let result = |name: &str, value: &str| RunResult { name: name.to_owned(), value: value.to_owned() };
        let results = [result("IMAGE_URL", "r.example.com/app"), result("PLATFORMS", ""), result("x", "yz")];
        let written: usize =
            results.iter().map(|result| serde_json::to_string(result).unwrap().len() + ",".len()).sum();
        assert_eq!(size(&results), written);
        assert_eq!(size(&[]), 0);
    }
}
