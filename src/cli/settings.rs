//! The file with the controller's settings.

use std::path::Path;

use crate::core::settings::Settings;

/// Reads settings.
///
/// # Errors
/// What cannot be read, with the file's name and the line.
pub(super) fn read(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the settings {} cannot be read: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("the settings {}: {error}", path.display()))
}
