//! The questions of `dari init`: a line each, over standard input and output.

use std::io::{self, BufRead, Write};

use super::text::Picked;
use super::{USUAL, named, sinks, sources};
use crate::connectors::Manifest;

/// Asks for the kinds of sources and sinks. An empty line, or the end of the input, takes what stands in brackets; what
/// there is not is told and asked for again.
///
/// # Errors
/// Reading or writing.
pub(super) fn ask(
    manifests: &[&'static Manifest],
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<Picked> {
    let (all_sources, all_sinks) = (sources(manifests), sinks(manifests));
    writeln!(output, "Several are named with commas; `dari describe NAME` tells more of one.")?;
    list(output, "Where do events come from?", all_sources.iter().map(|(manifest, kind)| (manifest.title, kind.name)))?;
    let from =
        one(input, output, "sources", USUAL.0, |names| named("source", &all_sources, |(_, kind)| kind.name, names))?;
    list(output, "Where do they go?", all_sinks.iter().map(|(manifest, kind)| (manifest.title, kind.name)))?;
    let to = one(input, output, "sinks", USUAL.1, |names| named("sink", &all_sinks, |(_, kind)| kind.name, names))?;
    Ok(Picked { sources: from, sinks: to })
}

/// A line a vendor, with its kinds.
fn list<'a>(
    output: &mut impl Write,
    question: &str,
    kinds: impl Iterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    let mut vendors: Vec<(&str, Vec<&str>)> = Vec::new();
    for (title, kind) in kinds {
        match vendors.last_mut().filter(|(last, _)| *last == title) {
            Some((_, kinds)) => kinds.push(kind),
            None => vendors.push((title, vec![kind])),
        }
    }
    writeln!(output, "\n{question}")?;
    for (title, kinds) in vendors {
        writeln!(output, "  {title}: {}", kinds.join(", "))?;
    }
    Ok(())
}

fn one<T>(
    input: &mut impl BufRead,
    output: &mut impl Write,
    what: &str,
    usual: &str,
    read: impl Fn(&[String]) -> Result<T, String>,
) -> io::Result<T> {
    loop {
        write!(output, "{what} [{usual}]: ")?;
        output.flush()?;
        let mut line = String::new();
        let ended = input.read_line(&mut line)? == 0;
        let names: Vec<String> =
            line.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match read(&if names.is_empty() { vec![usual.to_owned()] } else { names }) {
            Ok(picked) => return Ok(picked),
            Err(why) if ended => return Err(io::Error::other(why)),
            Err(why) => writeln!(output, "{why}")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors;

    fn asked(input: &str) -> (Vec<&'static str>, Vec<&'static str>, String) {
        let mut output = Vec::new();
        let picked = ask(connectors::ALL, &mut input.as_bytes(), &mut output).unwrap();
        let sources = picked.sources.iter().map(|(_, kind)| kind.name).collect();
        (sources, picked.sinks.iter().map(|(_, kind)| kind.name).collect(), String::from_utf8(output).unwrap())
    }

    #[test]
    fn what_is_in_brackets_is_taken_for_an_empty_line_and_at_the_end() {
        let (sources, sinks, said) = asked("\n");
        assert_eq!((sources, sinks), (vec!["webhook"], vec!["http"]));
        let (_, question) = said.split_once("Where do they go?\n").unwrap();
        insta::assert_snapshot!(question, @"
      Daou Office Works: works
      Slack: slack
      Worksection: worksection
      Dooray: dooray-message, dooray-calendar, dooray-task
      Adobe Workfront: workfront
      HTTP: http
    sinks [http]:
    ");
    }

    #[test]
    fn several_are_named_with_commas_and_what_there_is_not_is_asked_for_again() {
        let (sources, sinks, said) = asked("wala\nwalla, github-hook,walla\nslack works\n");
        assert_eq!((sources, sinks), (vec!["walla", "github-hook"], vec!["slack", "works"]));
        assert!(said.contains("there is no kind of source `wala`; did you mean `walla`?"), "{said}");
    }
}
