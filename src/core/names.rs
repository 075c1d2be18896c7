//! Names of children: deterministic, so that creating one twice is impossible, and within Kubernetes' bound.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};

/// The longest name that Tekton's webhook takes (Tekton `pkg/apis/validate/metadata.go`), which is also the longest label.
pub const LONGEST: usize = 63;
/// Length of an MD5 digest in hexadecimal digits.
const DIGEST: usize = 32;

/// Joins `parent` and `suffix` to a name of at most [`LONGEST`] characters, as Tekton names the children of its own runs
/// (knative `kmeta.ChildName`): what does not fit is replaced by a digest of it, so that different inputs keep different names
/// and equal inputs equal ones.
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST {
        return tidy([parent, suffix].concat());
    }
    let head = LONGEST - DIGEST;
    if suffix.len() < head {
        return tidy(format!("{}{}{suffix}", prefix(parent, head - suffix.len()), md5(&[parent])));
    }
    let mut name = format!("{}{}", prefix(parent, head), md5(&[parent, suffix]));
    let room = LONGEST - name.len();
    name.push_str(prefix(suffix, room));
    tidy(name)
}

/// The first `length` bytes, or fewer where that would cut a character in two.
fn prefix(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn md5(parts: &[&str]) -> String {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().iter().fold(String::with_capacity(DIGEST), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name must end with a letter or a digit; cutting may have left a dash or a dot at its end.
fn tidy(mut name: String) -> String {
    while name.ends_with(|last: char| !last.is_ascii_alphanumeric()) {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_joined() {
        assert_eq!(child_name("app-build", "-linux-arm64"), "app-build-linux-arm64");
    }

    // What knative's `kmeta.ChildName` gave for the same arguments.
    #[test]
    fn names_are_those_that_tekton_would_give() {
        let parent = "a-pipeline-run-with-a-very-long-name-that-fills-the-whole-width";
        let suffix = "-linux-arm64-a-task-with-a-name-that-alone-is-longer-than-half";
        for (parent, suffix, name) in [
            (parent, "-linux-arm64", "a-pipeline-run-with449c1ae28ace21439be8d2c69dfc22ed-linux-arm64"),
            ("run", suffix, "runb5f99e8c9840b7a92788bc4688083222-linux-arm64-a-task-with-a-n"),
            (parent, suffix, "a-pipeline-run-with-a-very-long97104f510886fd5f779963ce84557829"),
            // 31 characters, and 30: the longest suffix that is kept whole.
            (
                parent,
                "-linux-arm64-a-task-that-is-lon",
                "a-pipeline-run-with-a-very-long8352b891229da8c1235df21383c3b164",
            ),
            (
                parent,
                "-linux-arm64-a-task-that-is-lo",
                "a449c1ae28ace21439be8d2c69dfc22ed-linux-arm64-a-task-that-is-lo",
            ),
        ] {
            assert_eq!(child_name(parent, suffix), name);
        }
    }

    #[test]
    fn a_long_parent_is_replaced_by_its_digest() {
        let parent = "a-pipeline-run-with-a-very-long-name-that-fills-the-whole-width";
        let name = child_name(parent, "-linux-arm64");
        assert_eq!(name.len(), LONGEST);
        assert!(name.starts_with("a-pipeline-run-with"));
        assert!(name.ends_with("-linux-arm64"));
        assert_ne!(name, child_name(&parent.replace("whole", "other"), "-linux-arm64"));
    }

    #[test]
    fn a_long_suffix_is_hashed_with_its_parent() {
        let suffix = "-linux-arm64-a-task-with-a-name-that-alone-is-longer-than-half";
        let name = child_name("run", suffix);
        assert!(name.len() <= LONGEST, "{name}");
        assert_ne!(name, child_name("run", &format!("{suffix}x")));
        assert_ne!(name, child_name("ran", suffix));
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for (text, length, found) in [
            ("aéb", 0, ""),
            ("aéb", 1, "a"),
            ("aéb", 2, "a"),
            ("aéb", 3, "aé"),
            ("é", 1, ""),
            ("ab", 5, "ab"),
        ] {
            assert_eq!(prefix(text, length), found, "{text} {length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn names_fit_and_are_valid_for_any_parent(parent in "[a-z0-9]([-a-z0-9.]{0,70}[a-z0-9])?", suffix in "-[a-z0-9]([-a-z0-9]{0,90}[a-z0-9])?") {
            let name = child_name(&parent, &suffix);
            proptest::prop_assert!(name.len() <= LONGEST, "{} is {} long", name, name.len());
            proptest::prop_assert!(name.ends_with(|c: char| c.is_ascii_alphanumeric()));
            proptest::prop_assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()));
        }
    }
}
