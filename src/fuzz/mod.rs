//! Everything that reads what somebody else has written, as functions of bytes, with what must hold of it whatever the bytes are.
//!
//! `make fuzz` drives them with inputs that reach new branches (docs/fuzzing.md); `make test-unit` plays the corpus of `e2e/fuzz`
//! through them. They are compiled for those two only.

mod core;
mod documents;

/// A name, and what takes bytes and panics if something does not hold.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("archive", crate::index::fuzz::archive),
    ("challenge", crate::index::fuzz::challenge),
    ("answers", crate::index::fuzz::answers),
    ("manifest", crate::index::fuzz::manifest),
    ("logins", crate::index::fuzz::logins),
    ("image", crate::index::fuzz::image),
    ("platform", core::platform),
    ("duration", core::duration),
    ("variables", core::variables),
    ("spec", core::spec),
    ("run", core::run),
    ("documents", documents::read),
];

/// Plays one input; `false` if there is no such target.
pub fn play(target: &str, bytes: &[u8]) -> bool {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    if let Some((_, run)) = found {
        run(bytes);
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TARGETS;

    /// What the fuzzer has found worth keeping, played through the same functions.
    #[test]
    fn the_corpus_holds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/fuzz/corpus");
        for (name, run) in TARGETS {
            let mut files: Vec<_> =
                std::fs::read_dir(root.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            assert!(files.len() >= 4, "the corpus of {name} has {} files", files.len());
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                let held = std::panic::catch_unwind(|| run(&bytes));
                assert!(held.is_ok(), "{} breaks {name}", file.display());
            }
        }
    }

    #[test]
    fn every_folder_of_the_corpus_is_of_a_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/fuzz/corpus");
        for folder in std::fs::read_dir(root).unwrap() {
            let folder = folder.unwrap().file_name();
            assert!(TARGETS.iter().any(|(name, _)| folder == *name), "{folder:?}");
        }
    }
}
