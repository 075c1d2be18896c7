//! YAML and JSON documents from files, folders and the standard input, with the line on which each field stands.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use granit_parser::{Event, Parser, Span};
use serde_json::Value;

/// A document and where it was found.
#[derive(Debug)]
pub(super) struct Document {
    /// The file, or `-` for the standard input.
    pub(super) file: String,
    /// Its content.
    pub(super) value: Value,
    /// The lines of its fields.
    lines: Lines,
    /// The item of a `List` that it was.
    item: Option<usize>,
}

impl Document {
    /// `apiVersion` and `kind`.
    pub(super) fn kind(&self) -> (&str, &str) {
        let text = |field: &str| self.value.get(field).and_then(Value::as_str).unwrap_or_default();
        (text("apiVersion"), text("kind"))
    }

    /// `metadata.name`.
    pub(super) fn name(&self) -> &str {
        self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.namespace`; empty if it says none.
    pub(super) fn namespace(&self) -> &str {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
    }

    /// `file:line` of a field, or of the nearest thing around it that is there: `spec.platforms[1]`.
    pub(super) fn place(&self, field: &str) -> String {
        let line = match self.item {
            Some(item) => self.lines.of(&format!("items[{item}].{field}")),
            None => self.lines.of(field),
        };
        format!("{}:{line}", self.file)
    }
}

impl Document {
    /// What is written in a field, as JSON; empty if it is not there.
    pub(super) fn text_at(&self, field: &str) -> String {
        let mut value = &self.value;
        let mut rest = field;
        while !rest.is_empty() {
            let (step, after) = next_step(rest);
            let found = match value {
                Value::Object(fields) => fields.get(&step),
                Value::Array(items) => match step.parse::<usize>() {
                    Ok(index) => items.get(index),
                    Err(_) => items.iter().find(|item| item["name"] == step.as_str()),
                },
                _ => None,
            };
            let Some(found) = found else { return String::new() };
            value = found;
            rest = after;
        }
        value.to_string()
    }
}

/// Reads every document. A folder stands for the `.yaml`, `.yml` and `.json` files in it and below it.
///
/// # Errors
/// What cannot be read, with file and line.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| format!("the standard input cannot be read: {error}"))?;
            parse("-", &text, &mut documents)?;
        } else {
            load_path(path, &mut documents)?;
        }
    }
    Ok(documents)
}

fn load_path(path: &Path, documents: &mut Vec<Document>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: cannot be read: {error}", path.display());
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        return parse(&path.display().to_string(), &text, documents);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    entries.sort();
    for entry in entries {
        let document = entry
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e));
        if entry.is_dir() || document {
            load_path(&entry, documents)?;
        }
    }
    Ok(())
}

pub(super) fn parse(file: &str, text: &str, documents: &mut Vec<Document>) -> Result<(), String> {
    for (first_line, chunk) in chunks(text) {
        let value: Value = serde_saphyr::from_str(&chunk).map_err(|error| {
            let line = error.location().map_or(first_line, |location| {
                first_line + usize::try_from(location.line()).unwrap_or(1).saturating_sub(1)
            });
            // The parser's own message shows a stretch of the file; the first line says what is wrong.
            let why = error.to_string();
            format!("{file}:{line}: {}", why.lines().next().unwrap_or_default())
        })?;
        if value.is_null() {
            continue;
        }
        let lines = Lines::read(&chunk, first_line);
        if value.get("kind").and_then(Value::as_str) == Some("List") {
            let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            for (index, item) in items.into_iter().enumerate() {
                documents.push(Document {
                    file: file.to_owned(),
                    value: item,
                    lines: lines.clone(),
                    item: Some(index),
                });
            }
        } else {
            documents.push(Document { file: file.to_owned(), value, lines, item: None });
        }
    }
    Ok(())
}

/// Splits a stream into its documents, with the line on which each begins. A line of three dashes at its very beginning cannot be
/// part of a document (YAML 1.2, 9.1).
fn chunks(text: &str) -> Vec<(usize, String)> {
    let mut chunks = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            chunks.push((number + 2, String::new()));
        } else if let Some((_, chunk)) = chunks.last_mut() {
            chunk.push_str(line);
            chunk.push('\n');
        }
    }
    chunks.retain(|(_, chunk)| !chunk.trim().is_empty());
    chunks
}

/// The lines of a document's fields.
#[derive(Clone, Debug)]
struct Lines {
    root: Node,
}

#[derive(Clone, Debug)]
struct Node {
    line: usize,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Scalar(String),
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
}

impl Lines {
    fn read(text: &str, first_line: usize) -> Self {
        let mut events = Parser::new_from_str(text).map_while(Result::ok).filter(|(event, _)| {
            matches!(
                event,
                Event::Scalar(..)
                    | Event::MappingStart(..)
                    | Event::MappingEnd
                    | Event::SequenceStart(..)
                    | Event::SequenceEnd
                    | Event::Alias(..)
            )
        });
        let empty = Node { line: first_line, content: Content::Scalar(String::new()) };
        let root = read_node(&mut events, first_line).unwrap_or(empty);
        Self { root }
    }

    /// The line of a field, or of the nearest thing around it that is there.
    fn of(&self, path: &str) -> usize {
        let mut node = &self.root;
        let mut rest = path;
        while !rest.is_empty() {
            let (step, after) = next_step(rest);
            let found = match &node.content {
                Content::Map(fields) => fields.iter().find(|(key, _)| *key == step).map(|(_, node)| node),
                Content::List(items) => match step.parse::<usize>() {
                    Ok(index) => items.get(index),
                    Err(_) => items.iter().find(|item| item.name() == Some(&step)),
                },
                Content::Scalar(_) => None,
            };
            let Some(found) = found else { break };
            node = found;
            rest = after;
        }
        node.line
    }
}

impl Node {
    fn name(&self) -> Option<&str> {
        let Content::Map(fields) = &self.content else { return None };
        fields.iter().find_map(|(key, node)| match &node.content {
            Content::Scalar(text) if key == "name" => Some(text.as_str()),
            _ => None,
        })
    }
}

/// The first step of `.a.b`, `["a.b"].c`, `[2].d` or `a.b`, and what is left.
fn next_step(path: &str) -> (String, &str) {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(inner) = path.strip_prefix('[') {
        let end = inner.find(']').unwrap_or(inner.len());
        let step = inner[..end].trim_matches('"').to_owned();
        return (step, inner.get(end + 1..).unwrap_or_default());
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (path[..end].to_owned(), &path[end..])
}

fn read_node<'a>(events: &mut impl Iterator<Item = (Event<'a>, Span)>, first_line: usize) -> Option<Node> {
    let (event, span) = events.next()?;
    let line = first_line + span.start.line().saturating_sub(1);
    let content = match event {
        Event::Scalar(text, ..) => Content::Scalar(text.into_owned()),
        Event::MappingStart(..) => {
            let mut fields = Vec::new();
            while let Some(key) = read_node(events, first_line) {
                let Content::Scalar(name) = key.content else { break };
                let Some(mut value) = read_node(events, first_line) else { break };
                // The line of a field is the line of its name.
                value.line = key.line;
                fields.push((name, value));
            }
            Content::Map(fields)
        }
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = read_node(events, first_line) {
                items.push(item);
            }
            Content::List(items)
        }
        // What an alias stands for is where its anchor is; the line of the alias is good enough.
        Event::Alias(..) => Content::Scalar(String::new()),
        _ => return None,
    };
    Some(Node { line, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment
kind: A
spec:
  platforms:
    - linux/amd64
    - linux/arm64
---
# nothing here
---
kind: B
spec:
  tasks:
    - name: one
      params: [{name: x, value: y}]
  annotations:
    a.b/c: d
  script: |
    text
    more
  last: 1
";

    fn documents() -> Vec<Document> {
        let mut documents = Vec::new();
        parse("f.yaml", TEXT, &mut documents).unwrap();
        documents
    }

    #[test]
    fn documents_and_lines_are_found() {
        let documents = documents();
        let kinds: Vec<&str> = documents.iter().map(|document| document.kind().1).collect();
        assert_eq!(kinds, ["A", "B"]);
        for (document, field, line) in [
            (0, "spec.platforms[1]", 6),
            (0, "spec.platforms", 4),
            (0, "spec.platfroms", 3),
            (1, "spec.tasks[0].params[x]", 14),
            (1, "spec.tasks[one]", 13),
            (1, r#"spec.annotations["a.b/c"]"#, 16),
            (1, "spec.last", 20),
            (1, "", 10),
        ] {
            assert_eq!(documents[document].place(field), format!("f.yaml:{line}"), "{field}");
        }
    }

    #[test]
    fn items_of_a_list_are_documents() {
        let mut documents = Vec::new();
        parse("-", "kind: List\nitems:\n- kind: A\n  x: 1\n- kind: B\n  spec:\n    y: 2\n", &mut documents)
            .unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].place("spec.y"), "-:7");
    }

    #[test]
    fn what_is_no_yaml_is_said_with_its_line() {
        let error = parse("f.yaml", "kind: A\n---\na: b\nc: [1\n", &mut Vec::new()).unwrap_err();
        assert!(error.starts_with("f.yaml:"), "{error}");
        let line: usize = error.split(':').nth(1).unwrap().parse().unwrap();
        assert!((4..=5).contains(&line), "{error}");
    }
}
