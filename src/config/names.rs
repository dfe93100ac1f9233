//! Names, and patterns over names and types.

/// The longest name, in bytes.
const MAX_NAME: usize = 63;

/// True for `[a-z0-9-]{1,63}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(fits)
}

/// True if `text` fits `pattern`, in which each `*` stands for any number of characters.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// True for a pattern of event types: the letters of a type, and `*`.
pub(super) fn is_type_pattern(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
    !text.is_empty() && text.len() <= crate::event::MAX_TYPE && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("a.*", "a.b.c"), ("*.deleted", "x.deleted"), ("a*b*c", "axxbbc"), ("a*a", "aa")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "b"), ("", "a"), ("a.*", "a"), ("*.deleted", "deleted"), ("a*b*c", "acb"), ("a*a", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn names() {
        assert!(is_name("a-1") && is_name(&"x".repeat(63)));
        assert!(!is_name("") && !is_name("A") && !is_name("a_b") && !is_name("가") && !is_name(&"x".repeat(64)));
    }
}
