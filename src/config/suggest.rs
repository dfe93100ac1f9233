//! What was probably meant by a word nobody knows.

/// `; did you mean …?`, or what there is to choose from.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None if known.is_empty() || known.len() > 20 => String::new(),
        None => format!("; expected {}", words(&known)),
    }
}

/// The known word that differs by a slip or two; `POST` for `post`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = known.into_iter().map(|k| (strsim::damerau_levenshtein(&word, &k.to_lowercase()), k)).min()?;
    (near.0 <= 1 + near.1.chars().count() / 4).then_some(near.1)
}

/// A key as far as it looks like one: behind a forgotten colon stands its value, which may be a secret.
pub(super) fn shown(key: &str) -> String {
    let fits = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    let start: String = key.chars().take_while(fits).take(40).collect();
    if start.len() == key.len() { start } else { start + "…" }
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
