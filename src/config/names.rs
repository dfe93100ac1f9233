//! What may be a name, and what a pattern of types.

/// The longest name, in bytes.
const MAX_NAME: usize = 63;

/// True for `[a-z0-9-]{1,63}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(fits)
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
    fn names() {
        assert!(is_name("a-1") && is_name(&"x".repeat(63)));
        assert!(!is_name("") && !is_name("A") && !is_name("a_b") && !is_name("가") && !is_name(&"x".repeat(64)));
    }
}
