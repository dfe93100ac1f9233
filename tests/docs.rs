//! Every whole config that the documentation shows, and those under `deploy/`, pass the check as they stand.
#![expect(clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use dari::clock::Clock;
use dari::connectors::client::Client;

/// The first line of a fenced block that is a whole config.
const MARK: &str = "# dari.yaml";

/// Files that configs of the documentation refer to.
const FILES: &[(&str, &str)] = &[("members.csv", "mail,slack\nkim@acme.kr,U012AB3CD\n")];

/// What a secret file with a key holds.
const KEY: &str = dari::connectors::workfront::sandbox::PRIVATE_KEY;

/// A config and where it stands.
struct Shown {
    place: String,
    text: String,
}

#[test]
fn every_config_that_is_shown_is_sound() {
    let mut configs: Vec<Shown> = documents().iter().flat_map(|file| fenced(file)).collect();
    let in_docs = configs.len();
    assert!(in_docs >= 8, "only {in_docs} configs were found in the documentation: is the mark still `{MARK}`?");
    configs.push(whole("deploy/dari.yaml"));
    let faults: Vec<String> = configs.iter().filter_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in documents() {
        let text = read(&file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_local = !path.is_empty() && !target.contains("://");
            if is_local && !file.parent().is_some_and(|dir| dir.join(path).exists()) {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A row of a table of endpoints: method and path, and the files that speak it, or why none does.
struct Endpoint {
    name: String,
    files: Result<Vec<String>, String>,
}

fn endpoints(text: &str) -> Vec<Endpoint> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let files = match cells[2].strip_prefix("not spoken:") {
            Some(why) => Err(why.trim().to_owned()),
            None => Ok(cells[2].split(',').map(|file| file.trim().trim_matches('`').to_owned()).collect()),
        };
        Endpoint { name: cells[1].trim_matches('`').to_owned(), files }
    })
    .collect()
}

/// What a file that speaks an endpoint has: the parts of its path; its parameters, with their values where they are fixed ones.
/// What is in braces is anything.
fn words(endpoint: &str) -> Vec<&str> {
    let (_, target) = endpoint.split_once(' ').expect("a method and a path");
    let target = target.split_once("://").map_or(target, |(_, rest)| rest.split_once('/').expect("a path").1);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameters = query.split('&').flat_map(|pair| pair.split(['=', '{', '}', ':']));
    // A placeholder's own name is between its braces: of `{field}_Mod` the `_Mod` counts.
    let fixed = |word: &&str| !word.is_empty() && !query.contains(&format!("{{{word}}}"));
    path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{')).chain(parameters.filter(fixed)).collect()
}

#[test]
fn every_endpoint_is_spoken_by_the_file_that_is_named() {
    let mut wrong = Vec::new();
    let all = endpoints(&read(&top().join("docs/endpoints.md")));
    assert!(all.len() >= 76, "only {} endpoints were found: is the table still one?", all.len());
    for Endpoint { name, files } in all {
        let files = match files {
            Ok(files) => files,
            Err(why) => {
                assert!(!why.is_empty(), "{name}: why is it not spoken?");
                continue;
            }
        };
        let mut text = String::new();
        for file in files {
            match fs::read_to_string(top().join(&file)) {
                Ok(source) => text.push_str(&source),
                Err(error) => wrong.push(format!("{name}: {file}: {error}")),
            }
        }
        let quoted = |word: &str| text.contains(&format!("\"{word}\"")) || text.contains(&format!("/{word}"));
        // Parameters with a part that varies are made of pieces, as `_Mod`.
        let has = |word: &str| quoted(word) || (word.starts_with(['_', '$', 'O']) && text.contains(word));
        wrong.extend(
            words(&name).into_iter().filter(|word| !has(word)).map(|word| format!("{name}: no file has {word:?}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fenced block: its language, the line before it that is not empty, and its text.
struct Block<'a> {
    language: &'a str,
    before: &'a str,
    text: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut before) = (Vec::new(), "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { language, before, text: block.join("\n") + "\n" });
        } else if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// The page's first config holds for all of its tests. A block of JSON is the file that the line before it names, a block of
/// YAML after the first more tests, and what the console shows is the report of the tests just before it.
#[test]
fn the_page_on_tests_runs_as_it_says() {
    let page = read(&top().join("docs/testing.md"));
    let blocks = blocks(&page);
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("fixtures")).expect("a folder");
    for block in blocks.iter().filter(|block| block.language == "json") {
        let name = block.before.rsplit('`').nth(1).expect("the file's name in backticks");
        fs::write(dir.path().join(name), &block.text).expect("a file");
    }
    let (config, tests) = blocks[0].text.split_once("tests:\n").expect("tests in the first block");
    assert!(blocks[0].language == "yaml" && config.starts_with(MARK), "the page begins with its config");
    let of_yaml = blocks[1..].iter().zip(blocks[2..].iter().map(Some).chain([None]));
    let more = of_yaml.filter(|(block, _)| block.language == "yaml");
    let more = more.map(|(block, next)| (block.text.as_str(), next.filter(|next| next.language == "console")));
    for (tests, console) in std::iter::once((tests, None)).chain(more) {
        let report = report(dir.path(), &format!("{config}tests:\n{tests}"));
        match console {
            Some(console) => assert_eq!(format!("{report}\n"), console.text),
            None => assert_eq!(report.failed(), 0, "{report}"),
        }
    }
}

fn report(dir: &Path, yaml: &str) -> dari::commands::test::Report {
    let file = dir.join("dari.yaml");
    fs::write(&file, yaml).expect("a file");
    let (client, clock) = (Client::new().expect("a client"), Clock::system(0));
    let config = dari::config::load(&file, &|name| Some(variable(name)), &client, &clock)
        .unwrap_or_else(|faults| panic!("{faults}\n{yaml}"));
    dari::commands::test::run_all(&config, &client, &clock).expect("all of it can be built")
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn whole(name: &str) -> Shown {
    Shown { place: name.to_owned(), text: read(&top().join(name)) }
}

/// The documents at the top and everything under `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| top().join(name)).into();
    let mut folders = vec![top().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("docs/ is there") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The configs in a document.
fn fenced(file: &Path) -> Vec<Shown> {
    let text = read(file);
    let lines: Vec<&str> = text.lines().collect();
    let starts = (0..lines.len()).filter(|&at| lines[at] == "```yaml" && lines.get(at + 1) == Some(&MARK));
    let shown = |at: usize| {
        let block: Vec<&str> = lines[at + 1..].iter().take_while(|line| **line != "```").copied().collect();
        Shown { place: format!("{}:{}", file.display(), at + 2), text: block.join("\n") + "\n" }
    };
    starts.map(shown).collect()
}

/// What the check says of a config, on a machine that has its variables and files.
fn faults(shown: &Shown) -> Option<String> {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, content) in FILES {
        fs::write(dir.path().join(name), content).expect("a file");
    }
    // Absolute paths of secrets are made relative to the folder.
    let text = shown.text.replace("${file:/", "${file:");
    for name in text.split("${file:").skip(1).filter_map(|rest| rest.split('}').next()) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let content = if path.extension().is_some_and(|kind| kind == "pem") { KEY } else { "dummy\n" };
        fs::write(&path, content).expect("a file");
    }
    let file = dir.path().join("dari.yaml");
    fs::write(&file, text).expect("a file");
    let client = Client::new().expect("a client");
    let loaded = dari::config::load(&file, &|name| Some(variable(name)), &client, &Clock::system(0));
    loaded.err().map(|faults| format!("{}\n{faults}\n", shown.place))
}

/// Any variable is there; its name tells of which shape.
fn variable(name: &str) -> String {
    let value = match name.rsplit('_').next() {
        Some("URL") => "https://receiver.example.com/events",
        Some("WHSEC") => "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        Some("SECRET") => "0123456789abcdef",
        _ => "dummy",
    };
    value.to_owned()
}

#[test]
fn every_contradiction_is_a_switch_of_a_sandbox_that_a_test_turns() {
    let rows = read(&top().join("docs/vendors/contradictions.md"));
    let tests: String =
        ["tests/sinks", "tests/polling", "tests/hooks"].map(|folder| sources(&top().join(folder))).concat();
    let mut wrong = Vec::new();
    for row in rows.lines().filter(|row| row.starts_with("| ")).skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let sandbox = sources(&top().join("src/connectors").join(cells[1].to_lowercase()).join("sandbox"))
            + &read(&top().join("src/connectors").join(cells[1].to_lowercase()).join("sandbox.rs"));
        let words = cells[5].split('`').skip(1).step_by(2).filter(|word| !word.contains(['/', ' ', '<']));
        for word in words.filter(|word| word.contains('_')) {
            wrong.extend((!sandbox.contains(word)).then(|| format!("{}: no sandbox has {word}", cells[1])));
            wrong.extend(
                (!tests.contains(&format!("\"{word}\""))).then(|| format!("{}: no test turns {word}", cells[1])),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.lines().count() > 20);
}

/// All Rust files of a folder.
fn sources(folder: &Path) -> String {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "rs")).map(|file| read(&file)).collect()
}
