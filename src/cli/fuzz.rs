//! An entry point for [`crate::fuzz`].

use std::sync::Arc;

use super::documents;
use super::offline::Offline;
use crate::core::settings::Settings;

/// Plans what a text says would be run: each fault is told with the file and a line that the text has.
pub(super) fn plan(text: &str) {
    // A carriage return by itself is a line break too (YAML 1.2.2, 5.4).
    let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count() + 1;
    let mut found = Vec::new();
    if let Err(words) = documents::parse("f.yaml", text, &mut found) {
        check(&words, lines);
        return;
    }
    let offline = Offline {
        documents: found,
        params: Vec::new(),
        settings: Arc::new(Settings::default()),
        guess: true,
    };
    for case in offline.cases() {
        match offline.plan(&case) {
            Ok(children) => {
                for child in children {
                    let written = serde_saphyr::to_string(&child).unwrap_or_default();
                    let read = serde_saphyr::from_str::<serde_json::Value>(&written).ok();
                    assert_eq!(
                        read,
                        serde_json::to_value(&child).ok(),
                        "what is printed is another child: {written}"
                    );
                }
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in &problems {
                    let told = offline.tell(&case, problem);
                    let _ = offline.may_be_none(&case, problem);
                    if told.starts_with("f.yaml:") {
                        check(&told, lines);
                    }
                }
            }
        }
    }
}

fn check(told: &str, lines: usize) {
    let line = told.strip_prefix("f.yaml:").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
    assert!(line.is_some_and(|line| line <= lines), "{told} (of {lines} lines)");
}
