//! The pod template of each child: what its author wrote for it, read once, and merged once for all children that get the same.
//!
//! How layers are merged is in [`placement`]; here is which layers a child has. Most children of a run differ in their platform's node
//! selector only, and a run may have thousands of them, so a template is made once for each set of layers and each kind of node, and
//! shared. One in which a variable stands is made for each child anew.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use serde_json::Value;

use super::children::Family;
use super::path::Path;
use super::placement::{self, Layer};
use super::platform::Platform;
use super::problem::Problem;
use super::request::{Override, Target};
use super::variables::{Scope, holds_variable};

/// The templates of one run, as far as they have been needed.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    merged: RefCell<Vec<Merged>>,
}

/// A template that stands in the build.
#[derive(Clone, Copy, Debug)]
struct Written<'a> {
    template: &'a Value,
    /// The entry of `taskRunSpecs` in which it stands; `None` for `taskRunTemplate`, which speaks of every child.
    entry: Option<usize>,
    /// Whether a variable stands in it.
    varies: bool,
}

/// What all children get that have these templates and run on nodes of this kind.
#[derive(Clone, Debug)]
struct Merged {
    runs_on: Platform,
    entries: Vec<Option<usize>>,
    template: Arc<Value>,
}

impl Family<'_> {
    /// The pod template of a child on a platform.
    pub(super) fn pod_template(
        &self,
        target: &Target,
        overrides: &[&Override],
        scope: &Scope<'_>,
    ) -> Result<Arc<Value>, Problem> {
        let read = |template, entry| Written { template, entry, varies: holds_variable(template) };
        let general = self.request.template.pod_template.iter().map(|template| read(template, None));
        let exceptions = overrides.iter().filter_map(|exception| {
            Some(read(exception.entry.pod_template.as_ref()?, Some(exception.place)))
        });
        let written: Vec<Written<'_>> = general.chain(exceptions).collect();
        if written.iter().any(|written| written.varies) {
            return self.merged(&target.runs_on, &written, scope).map(Arc::new);
        }
        let entries = || written.iter().map(|written| written.entry);
        let known = self.templates.merged.borrow().iter().find_map(|known| {
            let same = known.runs_on.shares_nodes_with(&target.runs_on)
                && known.entries.iter().copied().eq(entries());
            same.then(|| known.template.clone())
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let template = Arc::new(self.merged(&target.runs_on, &written, scope)?);
        self.templates.merged.borrow_mut().push(Merged {
            runs_on: target.runs_on.clone(),
            entries: entries().collect(),
            template: template.clone(),
        });
        Ok(template)
    }

    /// The layers of a child, the most specific last, merged.
    fn merged(
        &self,
        runs_on: &Platform,
        written: &[Written<'_>],
        scope: &Scope<'_>,
    ) -> Result<Value, Problem> {
        let (template, entries) = (self.root.field("taskRunTemplate"), self.root.field("taskRunSpecs"));
        let owner = Path::root("PipelineRun spec");
        let owner = owner.field("taskRunSpecs");
        let inherited_place = owner.named(&self.request.context.pipeline_run);
        let items: Vec<Path<'_>> = written
            .iter()
            .map(|written| written.entry.map_or(template, |entry| entries.index(entry)))
            .collect();
        let mut layers: Vec<(Cow<'_, Value>, Option<Path<'_>>)> = Vec::new();
        if let Some(inherited) = &self.plan.inherited {
            layers.extend(inherited.general.iter().map(|template| (Cow::Borrowed(template), None)));
            layers.extend(
                inherited.specific.iter().map(|template| (Cow::Borrowed(template), Some(inherited_place))),
            );
        }
        for (written, item) in written.iter().zip(&items) {
            let place = item.field("podTemplate");
            let template = if written.varies {
                Cow::Owned(scope.json(written.template, &place)?)
            } else {
                Cow::Borrowed(written.template)
            };
            layers.push((template, Some(place)));
        }
        let layers: Vec<Layer<'_>> =
            layers.iter().map(|(template, place)| Layer { template, place: *place }).collect();
        placement::place(&layers, runs_on)
    }
}
