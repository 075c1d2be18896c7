//! Platforms of a run: what is listed, each platform once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{MOST, Parser};
use crate::api::multiarchbuild::{PlatformEntry, PlatformOptions};
use crate::api::tekton::ParamValue;
use crate::core::nearest;
use crate::core::path::Path;
use crate::core::platform::Platform;
use crate::core::problem::{Problem, Reason};

/// A platform to build for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The platform.
    pub platform: Platform,
    /// Whether the run fails if it does.
    pub required: bool,
    /// The platform on whose nodes it is built: itself, but for cross builds and emulation.
    pub runs_on: Platform,
}

impl Parser<'_> {
    pub(super) fn targets(
        &mut self,
        entries: Vec<PlatformEntry>,
        params: &BTreeMap<String, ParamValue>,
    ) -> Vec<Target> {
        let root = *self.input.root;
        let list = root.field("platforms");
        let before = self.problems.len();
        let mut targets: Vec<Target> = Vec::new();
        let mut spelled: Vec<String> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let path = list.index(index);
            let options = match entry {
                PlatformEntry::Name(platform) => PlatformOptions { platform, required: true, runs_on: None },
                PlatformEntry::Options(options) => options,
                PlatformEntry::Odd(value) => {
                    let problem = odd_entry(&value, &path);
                    self.problems.push(problem);
                    continue;
                }
            };
            let names = self.scope(params).list(std::slice::from_ref(&options.platform), &path);
            // The path of a single entry is that entry, not an item in it.
            let names = names.map_err(|problem| Problem { field: path.to_string(), ..problem });
            for name in self.keep(names).unwrap_or_default() {
                let Some(platform) = self.platform(&name, &path) else { continue };
                if let Some(earlier) = targets.iter().position(|target| target.platform == platform) {
                    self.report(
                        Reason::DuplicatePlatform,
                        &path,
                        format!(
                            "{name:?} is {platform}, which is listed already as {:?}; list each platform once",
                            spelled[earlier]
                        ),
                    );
                    continue;
                }
                let runs_on = match &options.runs_on {
                    None => Some(platform.clone()),
                    Some(text) => {
                        let path = path.field("runsOn");
                        let text = self.scope(params).text(text, &path);
                        self.keep(text).and_then(|text| self.platform(&text, &path))
                    }
                };
                if let Some(runs_on) = runs_on {
                    targets.push(Target { platform, required: options.required, runs_on });
                    spelled.push(name);
                }
            }
        }
        if targets.is_empty() && self.problems.len() == before {
            self.report(
                Reason::NoPlatforms,
                &list,
                "no platform is listed; list at least one, like linux/amd64 and linux/arm64",
            );
        }
        if targets.len() > MOST {
            self.report(
                Reason::InvalidField,
                &list,
                format!("{} platforms are listed; the most is {MOST}", targets.len()),
            );
        }
        targets
    }

    pub(super) fn platform(&mut self, text: &str, path: &Path<'_>) -> Option<Platform> {
        let parsed = Platform::parse(text).map_err(|why| {
            Problem::new(Reason::InvalidPlatform, path, format!("{text:?} is no platform: {why}"))
        });
        self.keep(parsed)
    }
}

/// Says what is wrong with an entry of `platforms` that is neither a string nor the object that it may be.
fn odd_entry(value: &Value, path: &Path<'_>) -> Problem {
    const FIELDS: [&str; 3] = ["platform", "required", "runsOn"];
    let Value::Object(fields) = value else {
        return Problem::new(
            Reason::InvalidPlatform,
            path,
            format!(
                "{value} is no platform; write a string like \"linux/arm64\", or an object with platform, required and runsOn"
            ),
        );
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let hint = match nearest::to(unknown, FIELDS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known here are {}", FIELDS.join(", ")),
        };
        return Problem::new(Reason::UnknownField, &path.field(unknown), format!("unknown field; {hint}"));
    }
    let message = if fields.contains_key("platform") {
        "platform and runsOn are strings, required is true or false"
    } else {
        "platform is missing; it is required here"
    };
    Problem::new(Reason::InvalidField, path, message)
}
