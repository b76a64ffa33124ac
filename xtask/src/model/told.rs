//! What the checker has printed, and what `docs/model.md` says that it prints.

use std::collections::{BTreeMap, BTreeSet};

/// A set of names.
pub(super) type Names<'t> = BTreeSet<&'t str>;

/// The texts of each tuple that begins with this word, without it. One that is long is broken into lines.
fn tuples<'t>(output: &'t str, word: &str) -> Vec<Vec<&'t str>> {
    let mut tuples = Vec::new();
    let mut rest = output;
    while let Some(from) = rest.find("<<") {
        rest = &rest[from + 2..];
        let Some(to) = rest.find(">>") else { break };
        let mut texts = rest[..to].split('"').skip(1).step_by(2);
        if texts.next() == Some(word) {
            tuples.push(texts.collect());
        }
        rest = &rest[to..];
    }
    tuples
}

/// The sights that the search has come by.
pub(super) fn seen(output: &str) -> Names<'_> {
    tuples(output, "seen").into_iter().flatten().collect()
}

/// Mutations, and the promises that each was found to break.
pub(super) fn caught(output: &str) -> BTreeMap<&str, Names<'_>> {
    let named = |tuple: Vec<_>| {
        let (mutation, promises) = tuple.split_first()?;
        Some((*mutation, promises.iter().copied().collect()))
    };
    tuples(output, "caught")
        .into_iter()
        .filter_map(named)
        .collect()
}

/// The names in the setting `Mutations`.
pub(super) fn mutations(settings: &str) -> Vec<&str> {
    let Some((_, set)) = settings.split_once("Mutations = {") else {
        return Vec::new();
    };
    let set = set.split('}').next().unwrap_or_default();
    set.split('"').skip(1).step_by(2).collect()
}

/// The table of mutations on the page: by name, the promises of the last column.
pub(super) fn table(page: &str) -> BTreeMap<&str, Names<'_>> {
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| mutation |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let row = |line| {
        let mut cells = str::split(line, '|').map(|cell: &str| cell.trim().trim_matches('`'));
        let (name, promises) = (cells.nth(1)?, cells.nth(1)?);
        let promises = promises.split(',').map(|it| it.trim().trim_matches('`'));
        Some((name, promises.collect()))
    };
    rows.filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::searches::{self, Finds},
        workspace,
    };
    use std::{fs, path::Path};

    #[test]
    fn what_is_printed_is_read_also_where_it_is_broken_into_lines() {
        let output = r#"Progress(9) at 2026-11-30: 1,530 states generated.
<<"seen", {"stuck", "another's"}>>
<< "seen",
   { "a former owner's write is refused",
     "a late try of a former owner" } >>
<<"caught", "no_fence", {"P7"}>>
<< "caught",
   "undo_before_stored",
   {"P4", "P5"} >>
Finished in 37s"#;
        let sights = [
            "stuck",
            "another's",
            "a former owner's write is refused",
            "a late try of a former owner",
        ];
        assert_eq!(seen(output), Names::from(sights));
        let promises = [
            ("no_fence", Names::from(["P7"])),
            ("undo_before_stored", Names::from(["P4", "P5"])),
        ];
        assert_eq!(caught(output), BTreeMap::from(promises));
    }

    #[test]
    fn the_page_has_every_mutation_and_no_other() {
        let read = |file: &str| fs::read_to_string(workspace().join(file)).unwrap();
        let page = read("docs/model.md");
        let mut searched = BTreeSet::new();
        for search in searches::all() {
            if matches!(search.finds, Finds::Mutations) {
                let settings = read(&format!("model/{}.cfg", search.config));
                searched.extend(mutations(&settings).into_iter().map(str::to_owned));
            }
        }
        let told: BTreeSet<String> = table(&page).into_keys().map(str::to_owned).collect();
        assert_eq!(told, searched);
    }

    #[test]
    fn every_configuration_is_searched_and_every_sight_is_one_of_the_module() {
        let mut searched = BTreeSet::new();
        for search in searches::all() {
            searched.insert(format!("{}.cfg", search.config));
            if let Finds::Sights(sights) = search.finds {
                let file = workspace().join(format!("model/{}.tla", search.module));
                let module = fs::read_to_string(file).unwrap();
                for sight in sights {
                    assert!(
                        module.contains(&format!("<<\"{sight}\",")),
                        "{sight} of {}",
                        search.config
                    );
                }
            }
        }
        let files = fs::read_dir(workspace().join("model")).unwrap();
        let files = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
        let files: BTreeSet<_> = files
            .filter(|name| Path::new(name).extension().is_some_and(|it| it == "cfg"))
            .collect();
        assert_eq!(files, searched);
    }
}
