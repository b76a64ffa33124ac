//! Makes the page of benchmarks, and its plots, of what the benchmarks have measured.
//!
//! `sagaz-bench <folder of the results> <page> [<README>]`: `cargo xtask bench` calls it. Words come from `page.md`, what was measured
//! from the results alone. A table that nobody has measured is an error, and a row that nobody has measured is listed. The table under
//! "Speed" in the README is made of the page.

#[path = "../../support/figure.rs"]
mod figure;
#[path = "../../support/number.rs"]
mod number;
mod page;
mod plot;
mod readme;
mod results;
#[path = "../../support/rows.rs"]
mod rows;
#[cfg(test)]
mod shared;
mod words;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What `cargo xtask instructions` has recorded.
const INSTRUCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.txt");

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let made = match &arguments[..] {
        [results, page] => make(results, page).map(drop),
        [results, page, readme] => make(results, page).and_then(|page| update(readme, &page)),
        _ => Err("usage: sagaz-bench <folder of the results> <page> [<README>]".to_owned()),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sagaz-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Writes the page and its plots.
fn make(results: &Path, page: &Path) -> Result<String, String> {
    let figures = results::read(results)?;
    let plots = page.with_extension("");
    fs::create_dir_all(&plots).map_err(|error| at(&plots, &error))?;
    let folder = plots
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .ok_or_else(|| format!("{} names no page", page.display()))?;
    for (table, figures) in &figures {
        plot::draw(&plots.join(format!("{table}.svg")), table, figures)?;
    }
    let instructions = Path::new(INSTRUCTIONS);
    let instructions =
        fs::read_to_string(instructions).map_err(|error| at(instructions, &error))?;
    let text = page::written(include_str!("page.md"), &figures, &instructions, &folder)?;
    fs::write(page, &text).map_err(|error| at(page, &error))?;
    eprintln!(
        "{} and {}/*.svg are written",
        page.display(),
        plots.display()
    );
    Ok(text)
}

/// Writes the README anew with a few ratios of the page.
fn update(readme: &Path, page: &str) -> Result<(), String> {
    let text = fs::read_to_string(readme).map_err(|error| at(readme, &error))?;
    fs::write(readme, readme::updated(&text, page)?).map_err(|error| at(readme, &error))
}
