//! What the person who installs archfan decides.

use serde::Deserialize;
use serde_json::Value;

/// Settings of the controller that policies read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// How the child that assembles the index is run.
    pub index: IndexSettings,
}

/// How the child that assembles the index is run.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IndexSettings {
    /// The image whose `archfan` is run: archfan's own.
    pub image: String,
    /// `imagePullPolicy` of that image; Kubernetes' default if left out.
    pub image_pull_policy: Option<String>,
    /// Pod template, merged over everything that the build says. Needed only where the image is not there for every
    /// architecture of the cluster.
    pub pod_template: Option<Value>,
    /// Resources of the step.
    pub compute_resources: Option<Value>,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self {
            image: "archfan".to_owned(),
            image_pull_policy: None,
            pod_template: None,
            compute_resources: None,
        }
    }
}
