//! Where in a document something stands: `spec.platforms[1].runsOn`.

use std::fmt;

/// A place in a document, as a chain of steps from the root. It costs nothing until somebody prints it.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Named(&'a str),
}

impl<'a> Path<'a> {
    /// The place from which others are counted.
    pub fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Root(name) }
    }

    /// A field of an object.
    #[must_use]
    pub fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An item of a list whose items have names: `tasks[build]`.
    #[must_use]
    pub fn named<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Named(name) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root(name) => f.write_str(name),
            // A key that is no identifier, such as a label's, is quoted so that its dots are not taken for steps.
            Step::Field(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
                write!(f, ".{name}")
            }
            Step::Field(name) => write!(f, "[{name:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Named(name) => write!(f, "[{name}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_jsonpath() {
        let spec = Path::root("spec");
        let entry = spec.field("taskRunSpecs");
        let entry = entry.index(2);
        let template = entry.field("podTemplate");
        let selector = template.field("nodeSelector");
        assert_eq!(
            selector.field("kubernetes.io/arch").to_string(),
            r#"spec.taskRunSpecs[2].podTemplate.nodeSelector["kubernetes.io/arch"]"#
        );
        assert_eq!(spec.field("tasks").named("build").to_string(), "spec.tasks[build]");
        assert_eq!(spec.field("a-b").field("c_d").to_string(), "spec.a-b.c_d");
    }
}
