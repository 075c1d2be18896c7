//! Entry points for [`crate::fuzz`].

use super::{challenge, file};
use crate::index::reference::Reference;

/// One header a line.
pub(in crate::index) fn challenge(text: &str) {
    if let Some(challenge::Challenge::Bearer(bearer)) = challenge::choose(text.lines()) {
        // What is written as registries do is read as it was meant.
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let written = format!("Bearer realm=\"{}\"", quote(&bearer.realm));
        let again = challenge::choose([written.as_str()]);
        let same = matches!(&again, Some(challenge::Challenge::Bearer(again)) if again.realm == bearer.realm);
        assert!(same, "{written:?}: {again:?}");
    }
}

/// A file with logins, asked for some repositories.
pub(in crate::index) fn logins(bytes: &[u8]) {
    for image in ["quay.io/team/app", "docker.io/library/a", "localhost:5000/a/b/c"] {
        if let Ok(reference) = Reference::parse(image) {
            file::find_in(bytes, &reference.repository);
        }
    }
}
