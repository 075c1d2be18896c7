//! The image index: reading images where builds left them, and pushing one index that names them all.
//!
//! Pure parts come first: [`mod@reference`], [`digest`], [`media`], [`document`], [`config`] and [`assemble`] know the formats, and
//! take bytes that anybody may have written. [`http`], [`auth`] and [`registry`] speak to registries, [`archive`] reads files.
//! [`image`] finds an image at its source, [`plan`] decides what has to move, [`push`] moves it.
//!
//! The law is OCI's: distribution-spec and image-spec 1.1. Where a rule comes from one of them, its section is named beside it.

mod access;
mod archive;
mod assemble;
mod auth;
mod config;
mod digest;
mod document;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod http;
mod image;
pub(crate) mod inspect;
pub(crate) mod media;
mod plan;
pub(crate) mod progress;
pub(crate) mod push;
pub(crate) mod reference;
mod registry;
mod remote;
pub(crate) mod results;
pub(crate) mod source;

pub use self::error::{Error, Kind};
