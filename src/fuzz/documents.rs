//! YAML documents, as `plan` and `validate` read them.

/// Every document is planned, or refused with words that name a line of the text; nothing is looked for outside it.
pub(super) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    crate::cli::fuzz(text);
}
