//! How variables are written: which stretches of a text are some, and what one consists of.

use crate::core::nearest;

/// What stands in brackets or after a dot behind a name.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Part<'a> {
    /// Nothing.
    Whole,
    /// `[*]`.
    All,
    /// `[0]`.
    Item(usize),
    /// `.KEY`.
    Key(&'a str),
}

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// What stays as it is.
    Text(&'a str),
    /// What stands between `$(` and `)`.
    Variable(&'a str),
}

/// Splits a text into plain stretches and variables.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut from = 0;
        while let Some(found) = rest[from..].find("$(") {
            let start = from + found;
            // `$$(` is an escaped `$(`: the first dollar goes, the rest stays as it is.
            if start > 0 && rest.as_bytes()[start - 1] == b'$' {
                let piece = Piece::Text(&rest[..start - 1]);
                if start == 1 {
                    let end = 3;
                    let piece = Piece::Text(&rest[1..end]);
                    rest = &rest[end..];
                    return Some(piece);
                }
                rest = &rest[start - 1..];
                return Some(piece);
            }
            if let Some(length) = rest[start + 2..].find(')') {
                let inner = &rest[start + 2..start + 2 + length];
                if is_variable(inner) {
                    if start > 0 {
                        let piece = Piece::Text(&rest[..start]);
                        rest = &rest[start..];
                        return Some(piece);
                    }
                    rest = &rest[start + length + 3..];
                    return Some(Piece::Variable(inner));
                }
            }
            from = start + 2;
        }
        let piece = Piece::Text(rest);
        rest = "";
        Some(piece)
    })
}

/// Whether what stands between `$(` and `)` has the shape of a variable: words joined by dots, perhaps with brackets. A single
/// word is one only if it is, or nearly is, `platform`.
fn is_variable(inner: &str) -> bool {
    let (segments, _) = split(inner);
    let words = segments.iter().all(|segment| {
        !segment.is_empty()
            && segment.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
    });
    if !words || inner.contains([' ', '\t', '\n', '$', '(']) {
        return false;
    }
    match segments.as_slice() {
        // Brackets alone, `$([0])`: a pattern, or a test, of a shell.
        [] => false,
        [single] => nearest::to(single, ["platform"]).is_some(),
        [first, ..] => first.chars().all(|c| c.is_ascii_alphanumeric()),
    }
}

/// Splits `params.x[*]`, `params["a.b"]` and `tasks.t.results.r[0]` into names and what stands behind them.
pub(super) fn split(variable: &str) -> (Vec<&str>, Part<'_>) {
    let mut segments = Vec::with_capacity(5);
    let mut part = Part::Whole;
    let mut rest = variable;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if !rest.starts_with('[') {
            segments.push(&rest[..end]);
        }
        rest = &rest[end..];
        while let Some(inner) = rest.strip_prefix('[') {
            let Some(close) = inner.find(']') else {
                // An unclosed bracket: keep it in the name, where nothing will know it.
                segments.push(rest);
                return (segments, part);
            };
            let content = &inner[..close];
            let quoted = content
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'))
                .or_else(|| content.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')));
            match (quoted, content) {
                (Some(name), _) => segments.push(name),
                (None, "*") => part = Part::All,
                (None, digits) => match digits.parse() {
                    Ok(index) => part = Part::Item(index),
                    Err(_) => segments.push(content),
                },
            }
            rest = &inner[close + 1..];
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => return (segments, part),
            None => {
                // Something right behind a bracket: keep both, where nothing will know them.
                segments.push(&variable[variable.len() - rest.len() - "]".len()..]);
                return (segments, part);
            }
        }
    }
}
