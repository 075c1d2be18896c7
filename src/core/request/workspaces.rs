//! Workspaces of a run: what is declared meets what is bound.

use super::{Parser, Task};
use crate::api::multiarchbuild::{Index, WorkspaceDeclaration, WorkspaceMapping};
use crate::api::tekton::WorkspaceBinding;
use crate::core::nearest;
use crate::core::path::Path;
use crate::core::problem::Reason;

/// A workspace of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// What it is bound to; `None` for an optional workspace that is not.
    pub binding: Option<WorkspaceBinding>,
    /// Whether each platform gets a folder of its own.
    pub per_platform: bool,
    /// A folder inside the volume, with variables.
    pub sub_path: Option<String>,
    /// Whether a task that names no workspaces takes it.
    pub by_default: bool,
}

impl Parser<'_> {
    pub(super) fn workspaces(
        &mut self,
        declared: &[WorkspaceDeclaration],
        index: Option<&Index>,
        tasks: &[Task],
    ) -> Vec<Workspace> {
        let root = *self.input.root;
        let list = root.field("workspaces");
        let bound = &self.input.run.spec.workspaces;
        let for_index: Vec<&str> = index
            .iter()
            .flat_map(|index| &index.workspaces)
            .map(target)
            .chain(index.iter().filter_map(|index| Some(index.archives.as_ref()?.workspace.as_str())))
            .collect();
        let mut workspaces: Vec<Workspace> = Vec::new();
        for (place, declaration) in declared.iter().enumerate() {
            let path = list.index(place);
            if workspaces.iter().any(|earlier| earlier.name == declaration.name) {
                self.report(
                    Reason::InvalidField,
                    &path,
                    format!("the workspace {:?} is declared twice; remove one", declaration.name),
                );
                continue;
            }
            let binding = bound.iter().find(|binding| binding.name == declaration.name).cloned();
            if binding.is_none() && !declaration.optional {
                let hint = match nearest::to(&declaration.name, bound.iter().map(|b| b.name.as_str())) {
                    Some(near) => format!("did you mean it by {near:?}?"),
                    None => {
                        "bind it in the workspaces of the pipeline task, or declare it optional".to_owned()
                    }
                };
                self.report(
                    Reason::MissingWorkspace,
                    &Path::root("spec").field("workspaces"),
                    format!("the workspace {:?} is not bound; {hint}", declaration.name),
                );
            }
            workspaces.push(Workspace {
                name: declaration.name.clone(),
                binding,
                per_platform: declaration.per_platform,
                sub_path: declaration.sub_path.clone(),
                by_default: true,
            });
        }
        for binding in bound {
            if workspaces.iter().any(|workspace| workspace.name == binding.name) {
                continue;
            }
            let indexed = for_index.contains(&binding.name.as_str());
            if !declared.is_empty() && !indexed {
                let names = declared.iter().map(|declaration| declaration.name.as_str());
                let hint = match nearest::to(&binding.name, names.clone()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("declared are {}", names.collect::<Vec<_>>().join(", ")),
                };
                self.report(
                    Reason::UnknownWorkspace,
                    &Path::root("spec").field("workspaces").named(&binding.name),
                    format!("the build declares no workspace {:?}; {hint}", binding.name),
                );
            }
            workspaces.push(Workspace {
                name: binding.name.clone(),
                binding: Some(binding.clone()),
                per_platform: false,
                sub_path: None,
                by_default: declared.is_empty() && !indexed,
            });
        }
        for task in tasks {
            let tasks_path = root.field("tasks");
            let item = task.place.map(|place| tasks_path.index(place));
            let path = item.as_ref().unwrap_or(self.input.root).field("workspaces");
            for (place, mapping) in task.written.workspaces.iter().flatten().enumerate() {
                self.mapping(mapping, &workspaces, &path.index(place));
            }
        }
        workspaces
    }

    /// Sees to it that a mapping names a workspace that there is.
    pub(super) fn mapping(&mut self, mapping: &WorkspaceMapping, workspaces: &[Workspace], path: &Path<'_>) {
        let name = target(mapping);
        if workspaces.iter().any(|workspace| workspace.name == name) {
            return;
        }
        let names = workspaces.iter().map(|workspace| workspace.name.as_str());
        let hint = match nearest::to(name, names.clone()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if workspaces.is_empty() => "the run binds no workspaces".to_owned(),
            None => format!("the workspaces are {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.report(Reason::UnknownWorkspace, path, format!("there is no workspace {name:?}; {hint}"));
    }
}

/// The workspace of the build that a mapping means.
fn target(mapping: &WorkspaceMapping) -> &str {
    mapping.workspace.as_deref().filter(|name| !name.is_empty()).unwrap_or(&mapping.name)
}

impl WorkspaceMapping {
    /// The workspace of the build that is meant: the one named, or the one of the same name.
    pub fn target(&self) -> &str {
        target(self)
    }
}
