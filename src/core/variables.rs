//! Variables: `$(params.image)`, `$(platform.arch)`, `$(tasks.build.results.digest)`, `$(context.customRun.name)`.
//!
//! | variable | stands for |
//! |---|---|
//! | `$(platform)` | the platform, `linux/arm64` |
//! | `$(platform.os)`, `$(platform.arch)`, `$(platform.variant)` | its parts; `arch` is Go's word, the one on nodes |
//! | `$(platform.machine)` | what `uname -m` says there, `aarch64` |
//! | `$(platform.key)` | the form for names, tags and folders, `linux-arm64` |
//! | `$(params.NAME)` | a string param |
//! | `$(params.NAME[*])`, `$(params.NAME[0])` | all items of an array param, or one |
//! | `$(params.NAME.KEY)` | one key of an object param |
//! | `$(tasks.NAME.results.RESULT)` | a result of an earlier task of the chain on the same platform; `[*]`, `[0]`, `.KEY` too |
//! | `$(context.customRun.name)`, `…namespace`, `…uid` | the run |
//! | `$(context.pipelineRun.name)` | its PipelineRun; empty for a run that has none, as Tekton does for a TaskRun |
//!
//! A name with a dot is written in brackets: `$(params["my.param"])`. `$$(` stands for a plain `$(`, and what does not look like
//! a variable, such as `$(nproc)` or `$(date +%s)`, is left alone. Anything that does and is not known is an error.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::syntax::{Part, Piece, pieces, split};
use super::nearest;
use super::path::Path;
use super::platform::Platform;
use super::problem::{Problem, Reason};
use crate::api::tekton::ParamValue;

mod syntax;

/// What the variables in one place stand for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The params of the run.
    pub params: &'a BTreeMap<String, ParamValue>,
    /// The platform, where there is one.
    pub platform: Option<&'a Platform>,
    /// Results of the earlier tasks of the chain, where there is one.
    pub tasks: Option<&'a TaskResults>,
    /// The run itself.
    pub context: &'a Context,
}

/// The run, as far as variables speak of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Name of the CustomRun.
    pub custom_run: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Name of its PipelineRun, empty if it has none.
    pub pipeline_run: String,
}

/// Results of the earlier tasks of a chain, by task and then by result.
///
/// Before a task has run its results are not known, but that it will have some is: then `Expected` lets every name pass, so that
/// a whole chain is checked before its first task is created.
pub type TaskResults = BTreeMap<String, ResultsOfTask>;

/// What one earlier task wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultsOfTask {
    /// It has not ended: any name may turn up.
    Expected,
    /// It has ended, and this is what it wrote.
    Known(BTreeMap<String, ParamValue>),
    /// A `when` expression kept it from running.
    Skipped,
}

/// What a variable stands for.
#[derive(Debug, PartialEq)]
enum Found<'a> {
    Text(Cow<'a, str>),
    Value(&'a ParamValue),
    /// It will be known later.
    Later,
}

impl Scope<'_> {
    /// Replaces every variable in a text.
    ///
    /// # Errors
    /// The first variable that is unknown, or that stands for a list where a text is wanted.
    pub fn text(&self, text: &str, path: &Path<'_>) -> Result<String, Problem> {
        if !text.contains("$(") {
            return Ok(text.to_owned());
        }
        let mut out = String::with_capacity(text.len() + 32);
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Variable(variable) => match self.look_up(variable, path)? {
                    (Found::Text(text), _) => out.push_str(&text),
                    // It stands there as it is until it is known: `archfan plan` shows it so.
                    (Found::Later, _) => {
                        out.push_str("$(");
                        out.push_str(variable);
                        out.push(')');
                    }
                    (Found::Value(value), part) => match pick(value, part, variable, path)? {
                        Picked::Text(text) => out.push_str(text),
                        Picked::List(_) | Picked::Map(_) => {
                            return Err(not_a_text(variable, value, path));
                        }
                    },
                },
            }
        }
        Ok(out)
    }

    /// Replaces every variable in an optional text.
    ///
    /// # Errors
    /// As [`Scope::text`].
    pub fn optional(&self, text: Option<&String>, path: &Path<'_>) -> Result<Option<String>, Problem> {
        text.map(|text| self.text(text, path)).transpose()
    }

    /// Replaces every variable in a list of texts. An item that is nothing but `$(params.NAME[*])` becomes all its items.
    ///
    /// # Errors
    /// As [`Scope::text`].
    pub fn list(&self, items: &[String], path: &Path<'_>) -> Result<Vec<String>, Problem> {
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            match self.whole(item, &path)? {
                Some(ParamValue::Array(all)) => out.extend(all),
                _ => out.push(self.text(item, &path)?),
            }
        }
        Ok(out)
    }

    /// Replaces every variable in the value of a param. `$(params.NAME[*])` alone becomes the array or object that it names.
    ///
    /// # Errors
    /// As [`Scope::text`].
    pub fn param(&self, value: &ParamValue, path: &Path<'_>) -> Result<ParamValue, Problem> {
        Ok(match value {
            ParamValue::String(text) => match self.whole(text, path)? {
                Some(value) => value,
                None => ParamValue::String(self.text(text, path)?),
            },
            ParamValue::Array(items) => ParamValue::Array(self.list(items, path)?),
            ParamValue::Object(fields) => ParamValue::Object(
                fields
                    .iter()
                    .map(|(key, text)| Ok((key.clone(), self.text(text, &path.field(key))?)))
                    .collect::<Result<_, Problem>>()?,
            ),
        })
    }

    /// Replaces every variable in any JSON, keys included.
    ///
    /// # Errors
    /// As [`Scope::text`].
    pub fn json(&self, value: &Value, path: &Path<'_>) -> Result<Value, Problem> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, path)?),
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    if let Value::String(text) = item
                        && let Some(ParamValue::Array(all)) = self.whole(text, &path)?
                    {
                        out.extend(all.into_iter().map(Value::String));
                        continue;
                    }
                    out.push(self.json(item, &path)?);
                }
                Value::Array(out)
            }
            Value::Object(fields) => {
                let mut out = Map::new();
                for (key, item) in fields {
                    let path = path.field(key);
                    out.insert(self.text(key, &path)?, self.json(item, &path)?);
                }
                Value::Object(out)
            }
            other => other.clone(),
        })
    }

    /// Replaces every variable in a map of texts, keys included.
    ///
    /// # Errors
    /// As [`Scope::text`].
    pub fn map(
        &self,
        fields: &BTreeMap<String, String>,
        path: &Path<'_>,
    ) -> Result<BTreeMap<String, String>, Problem> {
        fields
            .iter()
            .map(|(key, text)| {
                let path = path.field(key);
                Ok((self.text(key, &path)?, self.text(text, &path)?))
            })
            .collect()
    }

    /// The array or object that a text stands for, if it is nothing but `$(…[*])`.
    fn whole(&self, text: &str, path: &Path<'_>) -> Result<Option<ParamValue>, Problem> {
        if !(text.starts_with("$(") && text.ends_with("[*])")) {
            return Ok(None);
        }
        let mut parts = pieces(text);
        let (Some(Piece::Variable(variable)), None) = (parts.next(), parts.next()) else {
            return Ok(None);
        };
        match self.look_up(variable, path)? {
            (Found::Value(value), part) => Ok(match pick(value, part, variable, path)? {
                Picked::List(items) => Some(ParamValue::Array(items.to_vec())),
                Picked::Map(fields) => Some(ParamValue::Object(fields.clone())),
                Picked::Text(_) => None,
            }),
            // An array of a task that has not ended: what is in it is not known yet.
            (Found::Later, _) => Ok(Some(ParamValue::Array(vec![text.to_owned()]))),
            (Found::Text(_), _) => Ok(None),
        }
    }

    fn look_up<'v>(&'v self, variable: &'v str, path: &Path<'_>) -> Result<(Found<'v>, Part<'v>), Problem> {
        let (names, part) = split(variable);
        match names.as_slice() {
            ["platform"] | ["platform", _] => {
                let Some(platform) = self.platform else {
                    return Err(problem(
                        path,
                        format!(
                            "$({variable}) has no value here, because this field is the same for all platforms; use it in a field that each platform has of its own"
                        ),
                    ));
                };
                platform_variable(platform, names.get(1).copied())
                    .map(|text| (Found::Text(text), Part::Whole))
                    .ok_or_else(|| self.unknown(variable, path))
            }
            ["params", name, rest @ ..] => self.param_variable(name, rest, part, variable, path),
            ["tasks", task, "results", result, rest @ ..] => {
                self.result_variable(task, result, rest, part, variable, path)
            }
            ["context", "customRun", "name"] => Ok((text(&self.context.custom_run), Part::Whole)),
            ["context", "customRun", "namespace"] => Ok((text(&self.context.namespace), Part::Whole)),
            ["context", "customRun", "uid"] => Ok((text(&self.context.uid), Part::Whole)),
            ["context", "pipelineRun", "name"] => Ok((text(&self.context.pipeline_run), Part::Whole)),
            _ => Err(self.unknown(variable, path)),
        }
    }

    fn param_variable<'v>(
        &'v self,
        name: &str,
        rest: &[&'v str],
        part: Part<'v>,
        variable: &str,
        path: &Path<'_>,
    ) -> Result<(Found<'v>, Part<'v>), Problem> {
        // A param's name may hold dots; the longest name that is known wins over a key of an object.
        let whole = match rest {
            [] => self.params.get(name),
            rest => self.params.get(&[&[name][..], rest].concat().join(".")),
        };
        if let Some(value) = whole {
            return Ok((Found::Value(value), part));
        }
        match (self.params.get(name), rest) {
            (Some(value), [key]) if part == Part::Whole => Ok((Found::Value(value), Part::Key(key))),
            _ => Err(self.unknown(variable, path)),
        }
    }

    fn result_variable<'v>(
        &'v self,
        task: &str,
        result: &str,
        rest: &[&'v str],
        part: Part<'v>,
        variable: &str,
        path: &Path<'_>,
    ) -> Result<(Found<'v>, Part<'v>), Problem> {
        let part = match (rest, part) {
            ([], part) => part,
            ([key], Part::Whole) => Part::Key(key),
            _ => return Err(self.unknown(variable, path)),
        };
        let Some(tasks) = self.tasks else {
            return Err(problem(
                path,
                format!(
                    "$({variable}) has no value here: results are known to the later tasks of a chain only (spec.tasks)"
                ),
            ));
        };
        match tasks.get(task) {
            None => Err(self.unknown(variable, path)),
            Some(ResultsOfTask::Expected) => Ok((Found::Later, part)),
            Some(ResultsOfTask::Skipped) => Err(problem(
                path,
                format!(
                    "$({variable}) has no value, because a when expression skipped the task {task:?} on this platform; give this task the same when expression"
                ),
            )),
            Some(ResultsOfTask::Known(results)) => {
                results.get(result).map(|value| (Found::Value(value), part)).ok_or_else(|| {
                    let known: Vec<&str> = results.keys().map(String::as_str).collect();
                    let wrote = if known.is_empty() { "no results".to_owned() } else { known.join(", ") };
                    problem(path, format!("$({variable}) has no value: the task {task:?} wrote {wrote}"))
                })
            }
        }
    }

    /// Says that a variable is not known, and which one may have been meant.
    fn unknown(&self, variable: &str, path: &Path<'_>) -> Problem {
        let mut known: Vec<String> = [
            "platform",
            "platform.os",
            "platform.arch",
            "platform.variant",
            "platform.machine",
            "platform.key",
            "context.customRun.name",
            "context.customRun.namespace",
            "context.customRun.uid",
            "context.pipelineRun.name",
        ]
        .map(str::to_owned)
        .into();
        known.extend(self.params.keys().map(|name| format!("params.{name}")));
        if let Some(tasks) = self.tasks
            && let Some(rest) = variable.strip_prefix("tasks.")
        {
            let earlier: Vec<&str> = tasks.keys().map(String::as_str).collect();
            let hint = match nearest::to(rest.split('.').next().unwrap_or(rest), earlier.iter().copied()) {
                Some(near) => format!("did you mean $(tasks.{near}.results.RESULT)?"),
                None if earlier.is_empty() => "no task of the chain comes before this one".to_owned(),
                None => format!(
                    "it must name an earlier task of the chain, as $(tasks.NAME.results.RESULT); those are {}",
                    earlier.join(", ")
                ),
            };
            return problem(path, format!("$({variable}) is not known; {hint}"));
        }
        let hint = match nearest::to(variable, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean $({near})?"),
            None if variable.starts_with("params.") => {
                let names: Vec<&str> = self.params.keys().map(String::as_str).collect();
                if names.is_empty() {
                    "the run has no params; give the pipeline task one of that name".to_owned()
                } else {
                    format!("the params are {}", names.join(", "))
                }
            }
            None => "write $$( for a plain $(".to_owned(),
        };
        problem(path, format!("$({variable}) is not known; {hint}"))
    }
}

/// Replaces `$(platform…)` in the strings of an inline `taskSpec` and leaves every other variable to Tekton.
///
/// # Errors
/// A part of the platform that there is not.
pub fn platform_only(value: &Value, platform: &Platform, path: &Path<'_>) -> Result<Value, Problem> {
    Ok(match value {
        Value::String(text) => {
            let mut out = String::with_capacity(text.len() + 16);
            let mut rest = text.as_str();
            while let Some(start) = rest.find("$(platform") {
                let Some(length) = rest[start..].find(')') else { break };
                let variable = &rest[start + 2..start + length];
                out.push_str(&rest[..start]);
                match variable.strip_prefix("platform") {
                    Some("") => out.push_str(&platform.to_string()),
                    Some(part) if part.starts_with('.') => {
                        let found = platform_variable(platform, Some(&part[1..])).ok_or_else(|| {
                            problem(path, format!("$({variable}) is not known; there are platform, platform.os, platform.arch, platform.variant, platform.machine and platform.key"))
                        })?;
                        out.push_str(&found);
                    }
                    // `$(platforms …)` is a command of the script, not a variable of ours.
                    _ => out.push_str(&rest[start..=start + length]),
                }
                rest = &rest[start + length + 1..];
            }
            out.push_str(rest);
            Value::String(out)
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| platform_only(item, platform, &path.index(index)))
                .collect::<Result<_, Problem>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, item)| Ok((key.clone(), platform_only(item, platform, &path.field(key))?)))
                .collect::<Result<_, Problem>>()?,
        ),
        other => other.clone(),
    })
}

/// Whether a variable may stand anywhere in some JSON, so that it has to be read for each child anew.
pub fn holds_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("$("),
        Value::Array(items) => items.iter().any(holds_variable),
        Value::Object(fields) => fields.iter().any(|(key, item)| key.contains("$(") || holds_variable(item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn platform_variable<'a>(platform: &'a Platform, part: Option<&str>) -> Option<Cow<'a, str>> {
    Some(match part {
        None => platform.to_string().into(),
        Some("os") => platform.os().into(),
        Some("arch") => platform.arch().into(),
        Some("variant") => platform.variant().into(),
        Some("machine") => platform.machine().into(),
        Some("key") => platform.key().into(),
        Some(_) => return None,
    })
}

fn text(text: &str) -> Found<'_> {
    Found::Text(text.into())
}

fn problem(path: &Path<'_>, message: String) -> Problem {
    Problem::new(Reason::UnknownVariable, path, message)
}

enum Picked<'a> {
    Text(&'a str),
    List(&'a [String]),
    Map(&'a BTreeMap<String, String>),
}

fn pick<'v>(
    value: &'v ParamValue,
    part: Part<'_>,
    variable: &str,
    path: &Path<'_>,
) -> Result<Picked<'v>, Problem> {
    match (value, part) {
        (ParamValue::String(text), Part::Whole) => Ok(Picked::Text(text)),
        (ParamValue::Array(items), Part::All) => Ok(Picked::List(items)),
        (ParamValue::Object(fields), Part::All) => Ok(Picked::Map(fields)),
        (ParamValue::Array(items), Part::Item(index)) => {
            items.get(index).map(|item| Picked::Text(item)).ok_or_else(|| {
                problem(path, format!("$({variable}) is out of bounds: there are {} items", items.len()))
            })
        }
        (ParamValue::Object(fields), Part::Key(key)) => {
            fields.get(key).map(|text| Picked::Text(text)).ok_or_else(|| {
                let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
                problem(path, format!("$({variable}) is not known; the keys are {}", keys.join(", ")))
            })
        }
        (value, _) => Err(not_a_text(variable, value, path)),
    }
}

fn not_a_text(variable: &str, value: &ParamValue, path: &Path<'_>) -> Problem {
    let bare = variable.trim_end_matches("[*]");
    let how = match value {
        ParamValue::String(_) => format!("it is a string; write $({bare})"),
        ParamValue::Array(_) => format!(
            "it is an array; write $({bare}[0]) for one item, or $({bare}[*]) as a whole item of a list or as a whole value"
        ),
        ParamValue::Object(_) => {
            format!("it is an object; write $({bare}.KEY), or $({bare}[*]) as a whole value")
        }
    };
    problem(path, format!("$({variable}) cannot stand here: {how}"))
}

#[cfg(test)]
mod tests;
