//! What crosses the wire: the `MultiArchBuild` kind, which is ours, and narrow views of the kinds that are not.
//!
//! A *view* holds only the fields that some policy reads. Whatever else an object carries is neither decoded nor kept, so
//! that a newer Tekton cannot break a watch and a cache of ten thousand runs stays small. For the same reason a view is
//! **never written back**: writes are patches and bodies of their own.

pub mod kubernetes;
#[allow(
    clippy::duplicated_attributes,
    reason = "each printed column has a type; the lint takes them for one attribute"
)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "kubectl explain prints the comments, so brackets in them are brackets"
)]
pub mod multiarchbuild;
pub mod names;
#[cfg(test)]
mod reference;
pub mod status;
pub mod tekton;
