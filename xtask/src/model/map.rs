//! The tables of `docs/model.md` that say where what the model does is in the code: they leave out no action, and name nothing that
//! there is not.

use super::PAGE;
use crate::workspace;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Where the code is that the model is one of.
const SOURCES: [&str; 3] = ["sagaz-core/src", "sagaz-outbox/src", "sagaz-storage/src"];

/// A row of a table, by the module that it is about.
struct Row {
    module: String,
    operators: Vec<String>,
    code: String,
}

/// Where a function is looked for.
#[derive(Clone, Debug)]
enum Place<'t> {
    Anywhere,
    File(&'t str),
    Type(&'t str),
}

/// What is between backticks.
fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(workspace().join(PAGE)).unwrap();
    let (_, page) = page.split_once("## From the model to the code").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let (mut rows, mut module) = (Vec::new(), String::new());
    for line in page.lines() {
        if let Some(name) = quoted(line).first().and_then(|it| it.strip_suffix(".tla")) {
            name.clone_into(&mut module);
        }
        let cells = line.strip_prefix("| ").filter(|it| it.starts_with('`'));
        if let Some((operators, code)) = cells.and_then(|it| it.split_once(" | ")) {
            rows.push(Row {
                module: module.clone(),
                operators: quoted(operators),
                code: code.to_owned(),
            });
        }
    }
    rows
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !(it.is_alphanumeric() || it == '_'))
        .filter(|it| !it.is_empty())
}

/// What a module defines, with the lines of each definition.
fn definitions(module: &str) -> BTreeMap<String, String> {
    let file = workspace().join(format!("model/{module}.tla"));
    let text = fs::read_to_string(file).unwrap();
    let (mut definitions, mut name) = (BTreeMap::<String, String>::new(), String::new());
    for line in text.lines() {
        let begins = line.starts_with(|it: char| it.is_alphabetic());
        if begins && line.contains("==") {
            name = words(line).next().unwrap().to_owned();
        }
        let (_, body) = line
            .split_once("==")
            .filter(|_| begins)
            .unwrap_or(("", line));
        let definition = definitions.entry(name.clone()).or_default();
        definition.push_str(body);
        definition.push('\n');
    }
    definitions
}

/// What the searches of a module choose from: not the sets that they choose for it.
fn actions(definitions: &BTreeMap<String, String>) -> BTreeSet<String> {
    let chosen = ["Act", "Step"]
        .into_iter()
        .filter_map(|it| definitions.get(it));
    let chosen: String = chosen.map(|body| body.replace("\\in ", "\\in_")).collect();
    let actions = words(&chosen).filter(|it| definitions.contains_key(*it));
    actions.map(str::to_owned).collect()
}

/// Folders, and files with what is in them.
fn read(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push((format!("{}/", path.display()), String::new()));
            read(&path, all);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            all.push((path.display().to_string(), text));
        }
    }
}

/// What there is not of the code that a row names: files and folders, and functions. Those behind a file and a colon are in it, those of
/// a type or a trait in a file that implements or declares it, and so those behind it, up to the next semicolon.
fn missing(code: &str, sources: &[(String, String)]) -> Vec<String> {
    let mut missing = Vec::new();
    for part in code.split(';') {
        let mut place = Place::Anywhere;
        let mut pieces = part.split('`').skip(1);
        while let (Some(named), Some(behind)) = (pieces.next(), pieces.next()) {
            let is_path = named.ends_with('/') || Path::new(named).extension().is_some();
            if is_path {
                let path = format!("/{named}");
                if !sources.iter().any(|(it, _)| it.ends_with(&path)) {
                    missing.push(named.to_owned());
                }
                if behind.starts_with(':') {
                    place = Place::File(named);
                }
                continue;
            }
            let function = match named.rsplit_once("::") {
                Some((of, function)) => {
                    place = Place::Type(of);
                    function
                }
                None => named,
            };
            if !sources.iter().any(|file| is_in(function, &place, file)) {
                missing.push(format!("{named} ({place:?})"));
            }
        }
    }
    missing
}

fn is_in(function: &str, place: &Place<'_>, (path, text): &(String, String)) -> bool {
    let is_there = match place {
        Place::Anywhere => true,
        Place::File(file) => path.ends_with(&format!("/{file}")),
        Place::Type(of) => text.lines().any(|line| {
            let line = line.trim_start();
            let declares = ["impl", "trait ", "pub trait ", "pub(crate) trait "];
            declares.iter().any(|it| line.starts_with(it)) && words(line).any(|it| it == *of)
        }),
    };
    let forms = ["(", "<"].map(|open| format!("fn {function}{open}"));
    is_there && forms.iter().any(|form| text.contains(form))
}

#[test]
fn what_the_page_says_of_the_model_and_the_code_is_there() {
    let mut sources = Vec::new();
    for folder in SOURCES {
        read(&workspace().join(folder), &mut sources);
    }
    for row in rows() {
        let defined = definitions(&row.module);
        for operator in &row.operators {
            assert!(defined.contains_key(operator), "{}: {operator}", row.module);
        }
        let missing = missing(&row.code, &sources);
        assert!(missing.is_empty(), "{}: {missing:?}", row.module);
    }
}

#[test]
fn every_action_is_on_the_page() {
    let rows = rows();
    let mut modules = BTreeSet::new();
    for entry in fs::read_dir(workspace().join("model")).unwrap() {
        let name = entry.unwrap().file_name();
        let module = name.to_str().and_then(|it| it.strip_suffix(".tla"));
        modules.extend(
            module
                .filter(|it| definitions(it).contains_key("Act"))
                .map(str::to_owned),
        );
    }
    assert_eq!(
        Vec::from_iter(&modules),
        ["Barrier", "Inbox", "Instance", "Outbox", "Start"]
    );
    for module in modules {
        let of_module = rows.iter().filter(|row| row.module == module);
        let told: BTreeSet<_> = of_module.flat_map(|row| row.operators.clone()).collect();
        let all = actions(&definitions(&module));
        assert!(!all.is_empty(), "{module}");
        let untold: Vec<_> = all.difference(&told).collect();
        assert!(untold.is_empty(), "{module}: {untold:?}");
    }
}
