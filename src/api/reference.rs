//! `docs/reference.md` is what the code says: its tables of fields and reasons are made from the types, and its tables of variables,
//! results and labels are checked against the words of the code. `ARCHFAN_UPDATE=1 cargo test reference` writes the former anew.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::multiarchbuild::MultiArchBuild;
use super::names::{annotation, label, result};
use crate::core::problem::Reason;

struct Field {
    path: String,
    type_: String,
    required: bool,
    about: String,
}

/// Every field below a schema, in the order of their names, as a path: `taskRunSpecs[].podTemplate.env`.
fn fields(path: &str, schema: &JSONSchemaProps, found: &mut Vec<Field>) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, property) in schema.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push(Field {
            path: path.clone(),
            type_: type_of(property),
            required: required.contains(name),
            about: property
                .description
                .clone()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        });
        match &property.items {
            Some(JSONSchemaPropsOrArray::Schema(item)) => fields(&format!("{path}[]"), item, found),
            _ => fields(&path, property, found),
        }
        if let Some(JSONSchemaPropsOrBool::Schema(item)) = &property.additional_properties {
            fields(&format!("{path}.KEY"), item, found);
        }
    }
}

fn type_of(schema: &JSONSchemaProps) -> String {
    let allowed: Vec<&str> = schema.enum_.iter().flatten().filter_map(|value| value.0.as_str()).collect();
    if !allowed.is_empty() {
        return allowed.join(", ");
    }
    match schema.type_.as_deref() {
        Some("array") => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(item)) => format!("list of {}", type_of(item)),
            _ => "list".to_owned(),
        },
        Some("object") => match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(item)) => format!("map of {}", type_of(item)),
            _ => "object".to_owned(),
        },
        Some(type_) => type_.to_owned(),
        None => "any".to_owned(),
    }
}

fn spec_fields() -> Vec<Field> {
    let crd = MultiArchBuild::crd();
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let spec = schema.properties.unwrap().remove("spec").unwrap();
    let mut found = Vec::new();
    fields("", &spec, &mut found);
    found
}

fn fields_table() -> String {
    let mut text = String::from("| field | type | meaning |\n|---|---|---|\n");
    for field in spec_fields() {
        let required = if field.required { ", required" } else { "" };
        let about = field.about.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {}{required} | {about} |", field.path, field.type_);
    }
    text
}

fn reasons_table() -> String {
    let mut text = String::from("| reason | when |\n|---|---|\n");
    for (reason, about) in Reason::ALL {
        let _ = writeln!(text, "| `{reason}` | {} |", about.trim());
    }
    text
}

/// What stands between two marks of a document, which is replaced by what it should be.
fn replaced(document: &str, mark: &str, wanted: &str) -> String {
    let (begin, end) = (format!("<!-- {mark}: made from the code -->\n"), format!("<!-- end of {mark} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no mark {begin:?}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no mark {end:?}"));
    format!("{before}{begin}\n{wanted}\n{end}{after}")
}

fn path() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md")
}

#[test]
fn the_reference_has_every_field_and_every_reason() {
    let there = std::fs::read_to_string(path()).unwrap();
    let wanted = replaced(&there, "fields", &fields_table());
    let wanted = replaced(&wanted, "reasons", &reasons_table());
    if std::env::var_os("ARCHFAN_UPDATE").is_some() {
        std::fs::write(path(), &wanted).unwrap();
    } else {
        assert!(
            there == wanted,
            "docs/reference.md is not what the code says: call ARCHFAN_UPDATE=1 cargo test reference"
        );
    }
}

#[test]
fn every_field_has_a_description_that_kubectl_explain_can_print() {
    for field in spec_fields() {
        let described = field.about.len() > 5 && field.about.ends_with('.');
        // Each key of an object param has one field, of which there is nothing to say but its type.
        assert!(described, "{} has no description: {:?}", field.path, field.about);
    }
}

#[test]
fn the_reference_names_every_variable_result_label_and_annotation() {
    let text = std::fs::read_to_string(path()).unwrap();
    for word in [
        "$(platform)",
        "$(platform.os)",
        "$(platform.arch)",
        "$(platform.variant)",
        "$(platform.machine)",
        "$(platform.key)",
        "$(params.NAME)",
        "$(params.NAME[*])",
        "$(params.NAME[0])",
        "$(params.NAME.KEY)",
        "$(tasks.NAME.results.RESULT)",
        "$(context.customRun.name)",
        "$(context.customRun.namespace)",
        "$(context.customRun.uid)",
        "$(context.pipelineRun.name)",
        result::IMAGE_URL,
        result::IMAGE_DIGEST,
        result::IMAGE_REF,
        result::IMAGES,
        result::PLATFORMS,
        label::PLATFORM,
        label::TASK,
        label::ROLE,
        label::CUSTOM_RUN,
        label::REUSE,
        annotation::PLATFORM,
        annotation::SPEC_DIGEST,
        annotation::TASK_RUN_SPAN_CONTEXT,
    ] {
        assert!(text.contains(&format!("`{word}`")), "docs/reference.md does not name {word}");
    }
}

#[test]
fn the_kind_has_what_users_type() {
    let crd = MultiArchBuild::crd();
    let names = &crd.spec.names;
    assert_eq!(names.short_names.as_deref(), Some(&["mab".to_owned()][..]));
    assert_eq!(
        names.categories.as_deref(),
        Some(&["tekton".to_owned(), "tekton-pipelines".to_owned(), "archfan".to_owned()][..])
    );
    let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap_or_default();
    let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["Platforms", "Task", "Image", "Age"]);
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let spec = schema.properties.unwrap().remove("spec").unwrap();
    assert_eq!(spec.x_kubernetes_validations.map(|rules| rules.len()), Some(1));
}
