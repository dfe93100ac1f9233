//! Whatever is in the file, the answer is a config or a list of faults with places in the file.

use proptest::prelude::*;

use crate::load;
use crate::whole::WHOLE;

/// The places of faults must exist: an editor jumps to them.
fn answers(yaml: &str) {
    if let Err(faults) = load(yaml) {
        assert!(!faults.list.is_empty());
        for fault in &faults.list {
            let lines = u32::try_from(yaml.split('\n').count()).expect("a small file");
            assert!(fault.spot.line <= lines + 1, "{fault:?} in {lines} lines");
            assert!(!fault.message.contains("hunter2"), "{fault:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "(accounts|sources|sinks|routes|tests|tables|listen|forms|http|hook|a|[-:{}\\[\\],'\"#&*!|>%$]|\\$\\{KEY\\}|\\{\\{ x \\}\\}| |\n|\n  )*") {
        answers(&text);
    }

    #[test]
    fn a_config_with_a_piece_missing(at in 0..2_500_usize, length in 1..80_usize) {
        let chars: Vec<char> = WHOLE.chars().collect();
        let at = at.min(chars.len());
        let end = (at + length).min(chars.len());
        answers(&chars[..at].iter().chain(&chars[end..]).collect::<String>());
    }

    #[test]
    fn a_config_with_a_piece_more(at in 0..2_500_usize, piece in "([-:{}\\[\\],'\"#&*!|>%$@` ]|\n|\\$\\{KEY\\}|\\$\\{KEY|\\{\\{|\\}\\}|~|0|x){1,4}") {
        let chars: Vec<char> = WHOLE.chars().collect();
        let at = at.min(chars.len());
        answers(&chars[..at].iter().copied().chain(piece.chars()).chain(chars[at..].iter().copied()).collect::<String>());
    }
}
