//! What the features `metrics` and `otel` cost a run in process that nobody observes: the same benchmark, built with and without
//! them, in turn.

use crate::{Done, at, cargo, run, workspace};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROUNDS: usize = 31;

pub(crate) fn measure() -> Done {
    let with = build("with", &["metrics", "otel"])?;
    let without = build("without", &[])?;
    let mut ratios = Vec::new();
    let (mut of_with, mut of_without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (nanos(&with)?, nanos(&without)?);
        ratios.push(one / other);
        of_with.push(one);
        of_without.push(other);
    }
    let table = Command::new(&with).status();
    if !table.is_ok_and(|status| status.success()) {
        return Err(format!("{} failed", with.display()));
    }
    eprintln!(
        "a run of three steps that nobody observes: {:.0} ns with the features, {:.0} ns without; median of the ratios {:.3} (wanted: under 1.05)",
        median(of_with),
        median(of_without),
        median(ratios)
    );
    Ok(())
}

/// The benchmark in a crate of its own, with these features: that of the workspace would bring all that tests need.
fn build(name: &str, features: &[&str]) -> Result<PathBuf, String> {
    let folder = workspace().join("target/observe-cost").join(name);
    let source = folder.join("src");
    fs::create_dir_all(&source).map_err(at(&source))?;
    let features: Vec<String> = features.iter().map(|it| format!("\"{it}\"")).collect();
    let features = features.join(", ");
    let manifest = format!(
        "[package]\nname = \"observe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [features]\ndefault = [{features}]\nmetrics = []\notel = []\n\n[dependencies]\n\
         sagaz = {{ path = '{}', default-features = false, features = [\"macros\", {features}] }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n\
         tokio = {{ version = \"1\", features = [\"rt\", \"time\", \"net\"] }}\n",
        workspace().display()
    );
    fs::write(folder.join("Cargo.toml"), manifest).map_err(at(&folder))?;
    fs::create_dir_all(source.join("support")).map_err(at(&source))?;
    for (from, to) in [
        ("benches/observe.rs", "src/main.rs"),
        ("benches/support/measure.rs", "src/support/measure.rs"),
        ("benches/support/figure.rs", "src/support/figure.rs"),
        ("benches/support/number.rs", "src/support/number.rs"),
        ("benches/support/rows.rs", "src/support/rows.rs"),
        ("Cargo.lock", "Cargo.lock"),
    ] {
        let from = workspace().join(from);
        fs::copy(&from, folder.join(to)).map_err(at(&from))?;
    }
    let mut build = cargo("build --release --manifest-path");
    run(build.arg(folder.join("Cargo.toml")))?;
    Ok(folder.join("target/release/observe"))
}

/// Of one run, in a process of its own.
fn nanos(program: &Path) -> Result<f64, String> {
    let output = Command::new(program)
        .args(["--as", "nobody"])
        .current_dir(env::temp_dir())
        .output()
        .map_err(at(program))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = said.trim().parse();
    number.map_err(|_| format!("{} says `{said}`", program.display()))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
