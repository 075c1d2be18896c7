//! Values of labels: every one from a list that is known in advance, so that no user can make up new series.

use crate::core::platform::Platform;
use crate::core::problem::Reason;

/// Variants that are told apart: those that images are really built for.
const VARIANTS: &[&str] = &["v5", "v6", "v7", "v2", "v3", "v4"];

/// A platform as a label: `linux/arm64`. Operating system and architecture come from the lists of
/// [`Platform::parse`]; an unusual variant is left out.
pub fn platform(text: &str) -> String {
    match Platform::parse(text) {
        Ok(platform) if VARIANTS.contains(&platform.variant()) => {
            format!("{}/{}/{}", platform.os(), platform.arch(), platform.variant())
        }
        Ok(platform) => format!("{}/{}", platform.os(), platform.arch()),
        Err(_) => "other".to_owned(),
    }
}

/// A reason as a label: one of ours, or `Other` for what Tekton or a user has said.
pub fn reason(text: &str) -> &'static str {
    Reason::ALL.iter().map(|(reason, _)| reason.as_str()).find(|known| *known == text).unwrap_or("Other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_make_up_a_label() {
        for (text, label) in [
            ("linux/arm64", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/amd64/v99", "linux/amd64"),
            ("linux/made-up", "other"),
            ("", "other"),
        ] {
            assert_eq!(platform(text), label, "{text}");
        }
        assert_eq!(reason("NoNode"), "NoNode");
        assert_eq!(reason("SomethingThatTektonSays"), "Other");
    }
}
