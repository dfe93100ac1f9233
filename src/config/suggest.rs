//! What was probably meant by a word nobody knows.

/// `; did you mean …?`, or what there is to choose from.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), *k)).min();
    match near {
        Some((distance, name)) if distance <= 1 + name.chars().count() / 4 => format!("; did you mean `{name}`?"),
        Some(_) if known.len() <= 16 => format!("; expected {}", words(&known)),
        _ => String::new(),
    }
}

/// `` `a`, `b` or `c` ``.
pub(super) fn words(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}
