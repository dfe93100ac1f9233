//! Which place in the file a character of a YAML string came from.
//!
//! A template's error is an offset into the string; the string in the file has quotes, escapes, folded lines.

use std::ops::Range;

use granit_parser::ScalarStyle;

use crate::settings::Spot;

/// A scalar as it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// Where it starts.
    pub spot: Spot,
    /// How it was written.
    pub style: ScalarStyle,
    /// Its bytes in the file, quotes and block header included.
    pub range: Range<usize>,
}

impl Scalar {
    /// The place of the character `at` of the scalar's value; its end for anything beyond.
    pub fn place(&self, source: &str, at: usize) -> Spot {
        let raw = source.get(self.range.clone()).unwrap_or_default();
        let mut walk = Walk { chars: raw.chars().collect(), next: 0, spot: self.spot };
        match self.style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                walk.step();
                walk.flow(self.style, at);
            }
            ScalarStyle::Literal | ScalarStyle::Folded => walk.block(self.style, at),
            ScalarStyle::Plain => walk.flow(self.style, at),
        }
        walk.spot
    }
}

struct Walk {
    chars: Vec<char>,
    next: usize,
    spot: Spot,
}

impl Walk {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.next + ahead).copied()
    }

    fn step(&mut self) {
        match self.peek(0) {
            Some('\n') => self.spot = Spot { line: self.spot.line + 1, column: 1 },
            Some(_) => self.spot.column += 1,
            None => return,
        }
        self.next += 1;
    }

    /// How many of the next characters fit.
    fn run(&self, fits: impl Fn(char) -> bool) -> usize {
        self.chars[self.next..].iter().take_while(|c| fits(**c)).count()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.step();
        }
    }

    /// A plain or quoted scalar: its inner line breaks fold into a space, or into one break less than there are.
    fn flow(&mut self, style: ScalarStyle, mut left: usize) {
        while self.peek(0).is_some() {
            if style == ScalarStyle::DoubleQuoted && self.peek(0) == Some('\\') && self.peek(1) == Some('\n') {
                self.step();
                self.step();
                self.skip_blanks();
            } else if left == 0 {
                return;
            } else if let Some(breaks) = self.fold() {
                left = left.saturating_sub(breaks);
            } else {
                for _ in 0..self.width(style) {
                    self.step();
                }
                left -= 1;
            }
        }
    }

    /// Goes over blanks, breaks and blanks; how many characters of the value they are. `None` if there is no break.
    fn fold(&mut self) -> Option<usize> {
        let blanks = self.run(|c| matches!(c, ' ' | '\t' | '\r'));
        if self.peek(blanks) != Some('\n') {
            return None;
        }
        let mut breaks = 0;
        while matches!(self.peek(0), Some(' ' | '\t' | '\r' | '\n')) {
            breaks += usize::from(self.peek(0) == Some('\n'));
            self.step();
        }
        Some(if breaks > 1 { breaks - 1 } else { 1 })
    }

    /// How many characters of the file the next character of the value takes.
    fn width(&self, style: ScalarStyle) -> usize {
        match (style, self.peek(0), self.peek(1)) {
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('x')) => 4,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('u')) => 6,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('U')) => 10,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some(_)) | (ScalarStyle::SingleQuoted, Some('\''), _) => 2,
            _ => 1,
        }
    }

    /// A block scalar, from its first character on: its lines without their common indentation. In a folded one a
    /// single break is a space, which counts the same.
    fn block(&mut self, style: ScalarStyle, mut left: usize) {
        let indent = self.spot.column.saturating_sub(1);
        while left > 0 && self.peek(0).is_some() {
            let breaks = self.run(|c| c == '\n');
            if breaks == 0 {
                self.step();
                left -= 1;
                continue;
            }
            for _ in 0..breaks {
                self.step();
            }
            self.skip_indent(indent);
            let folded = style == ScalarStyle::Folded && breaks > 1;
            left = left.saturating_sub(if folded { breaks - 1 } else { breaks });
        }
    }

    fn skip_indent(&mut self, indent: u32) {
        for _ in 0..indent {
            if self.peek(0) == Some(' ') {
                self.step();
            }
        }
    }
}
