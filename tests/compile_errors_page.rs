//! Whoever looks up an error finds it: the page on compile errors has every message that a case in `tests/ui` prints.
//!
//! Not here: that the compiler says so (`ui.rs`), and messages that no case prints.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PAGE: &str = include_str!("../src/docs/compile_errors.md");

/// The codes under which rustc prints a text of ours, or one that the page explains.
const CODES: [&str; 3] = ["E0080", "E0277", "E0592"];

/// What rustc says of its own accord, of Rust and not of sagas.
const RUSTC: [&str; 3] = [
    "unexpected token: `_`",
    "cannot find attribute `_` in this scope",
    "expected one of `_`, `_`, or `_`, found `_`",
];

#[test]
fn every_message_of_a_ui_case_is_on_the_page() {
    let entries: BTreeSet<_> = PAGE.lines().filter_map(entry).map(normalised).collect();
    let cases = expected(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui"));
    let (mut seen, mut missing) = (0, Vec::new());
    for case in cases {
        let text = fs::read_to_string(&case).expect("a file that was just listed is readable");
        for message in text.lines().filter_map(message) {
            let normal = normalised(message);
            if RUSTC.contains(&normal.as_str()) {
                continue;
            }
            seen += 1;
            if !entries.contains(&normal) {
                missing.push(format!("{message}\n    of {}", case.display()));
            }
        }
    }
    assert!(seen > 0, "no case prints a message");
    assert!(
        missing.is_empty(),
        "not in src/docs/compile_errors.md:\n{}",
        missing.join("\n")
    );
}

#[test]
fn no_message_is_on_the_page_twice() {
    let mut entries = BTreeSet::new();
    for entry in PAGE.lines().filter_map(entry) {
        assert!(entries.insert(entry), "{entry}");
    }
}

/// The message of a heading, or of a line in bold: all between double backticks, so that single ones are as printed.
fn entry(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("## `` ")
        .or_else(|| line.strip_prefix("**`` "))?;
    Some(rest.rsplit_once(" ``")?.0)
}

/// The message of the first line of an error. One that begins with "..." is the second place of the error before it.
fn message(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("error")?;
    let message = if let Some(coded) = rest.strip_prefix('[') {
        let (code, message) = coded.split_once("]: ")?;
        CODES.contains(&code).then_some(message)?
    } else {
        rest.strip_prefix(": ")?
    };
    (!message.starts_with("... ")).then_some(message)
}

/// The message without what differs from one saga to the next: what is quoted, and numbers.
fn normalised(message: &str) -> String {
    let mut normal = String::new();
    let mut letters = message.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '`' | '"' => {
                letters
                    .by_ref()
                    .take_while(|&inner| inner != letter)
                    .for_each(drop);
                normal.extend([letter, '_', letter]);
            }
            '0'..='9' => {
                if !normal.ends_with('#') {
                    normal.push('#');
                }
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The files of expected messages below the folder.
fn expected(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).expect("the cases are there") {
        let path = item.expect("the folder is readable").path();
        if path.is_dir() {
            files.extend(expected(&path));
        } else if path.extension().is_some_and(|kind| kind == "stderr") {
            files.push(path);
        }
    }
    files.sort();
    files
}
