//! "Did you mean": the known word that is nearest to an unknown one.

/// The nearest of `known`, if any is near enough to be what was meant: at most one change in three characters.
pub fn to<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::to;

    #[test]
    fn finds_typing_errors_and_nothing_else() {
        let known = ["platforms", "params", "taskRef", "index"];
        assert_eq!(to("platfroms", known), Some("platforms"));
        assert_eq!(to("taskref", known), Some("taskRef"));
        assert_eq!(to("param", known), Some("params"));
        assert_eq!(to("pltfrms", known), Some("platforms"), "two of seven");
        assert_eq!(to("ltfrms", known), None, "three of six");
        assert_eq!(to("image", known), None);
        assert_eq!(to("", known), None);
    }
}
