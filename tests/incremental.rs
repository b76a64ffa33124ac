//! One mistake is one error also where rustc compiles incrementally, as cargo does for everybody by default.
//!
//! The cases of `tests/ui` are compiled without it by trybuild, and rustc then prints an error once that two items have:
//! here it prints it twice. So this test counts, and leaves the words to the other. It also compiles the largest sagas.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A crate with a binary for each case, beside the tests' own target folder.
struct Project {
    folder: PathBuf,
    binaries: Vec<String>,
}

impl Project {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let binaries = folder.join("src/bin");
        let _ = fs::remove_dir_all(&binaries);
        fs::create_dir_all(&binaries).expect("a folder for the cases");
        let manifest = format!(
            "[package]\nname = \"cases\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nsagaz = {{ path = '{}' }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
             serde_json = \"1\"\n",
            root.display()
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
        // The versions that this workspace has, which are at hand.
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
        Self {
            folder,
            binaries: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, source: &str) {
        let path = self.folder.join("src/bin").join(format!("{name}.rs"));
        fs::write(path, source).expect("a case");
        self.binaries.push(name.to_owned());
    }

    /// The errors and warnings of each binary.
    fn check(&self) -> BTreeMap<String, Vec<String>> {
        let output = Command::new(env!("CARGO"))
            .args(["check", "--bins", "--keep-going", "--message-format=json"])
            .current_dir(&self.folder)
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .output()
            .expect("cargo runs");
        let mut found: BTreeMap<_, _> = self
            .binaries
            .iter()
            .map(|name| (name.clone(), Vec::new()))
            .collect();
        let mut compiled = 0;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let of = line["target"]["name"].as_str().unwrap_or_default();
            let Some(found) = found.get_mut(of) else {
                continue;
            };
            compiled += 1;
            let message = &line["message"];
            let text = message["message"].as_str().unwrap_or_default();
            // "aborting due to", "for more information".
            let is_summary = message["spans"].as_array().is_none_or(Vec::is_empty);
            if matches!(message["level"].as_str(), Some("error" | "warning")) && !is_summary {
                found.push(text.to_owned());
            }
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(compiled > 0, "nothing was compiled: {stderr}");
        found
    }
}

/// All files with this extension below a folder, with a name made of their paths.
fn files(folder: &Path, extension: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            let theme = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push((format!("{theme}__{name}"), path));
        }
    }
}

#[test]
fn a_mistake_is_one_error_for_a_user_who_compiles_incrementally() {
    let mut expected = Vec::new();
    files(Path::new("tests/ui"), "stderr", &mut expected);
    // These need the stores of databases, which this project does not compile.
    expected.retain(|(name, _)| !name.starts_with("stores__"));
    let mut project = Project::new("mistakes");
    for (name, stderr) in &expected {
        let source = fs::read_to_string(stderr.with_extension("rs")).expect("the case");
        project.add(name, &format!("#![allow(warnings)]\n{source}"));
    }
    let found = project.check();
    let mut wrong = String::new();
    for (name, stderr) in &expected {
        let text = fs::read_to_string(stderr).expect("the expected text");
        let errors = text
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        if found[name].len() != errors {
            let _ = writeln!(
                wrong,
                "{name}: {errors} expected, and not {:#?}",
                found[name]
            );
        }
    }
    assert!(expected.len() > 50, "there are cases");
    assert!(wrong.is_empty(), "{wrong}");
}

/// A diamond after a diamond: `count` steps, each after the two before it.
fn saga_of(count: usize) -> String {
    let mut source = String::from(
        "#![deny(warnings)]\n#![forbid(unsafe_code)]\npub struct Many;\n\n#[sagaz::saga]\nimpl Many {\n",
    );
    for at in 0..count {
        let before: Vec<String> = (at.saturating_sub(2)..at)
            .map(|at| format!("step{at}"))
            .collect();
        let (mut inputs, mut sum) = (String::new(), String::new());
        for name in &before {
            let _ = write!(inputs, ", {name}: &u64");
            let _ = write!(sum, " + {name} % 7");
        }
        let _ = writeln!(
            source,
            "    #[sagaz::step(no_compensation, depends_on = [{}])]\n    async fn step{at}(&self{inputs}) -> Result<u64, sagaz::StepError> {{\n        Ok({at}{sum})\n    }}",
            before.join(", ")
        );
    }
    source + "}\n\nfn main() {\n    let _ = sagaz::Saga::run(Many, ());\n}\n"
}

#[test]
fn a_saga_has_as_many_as_1024_steps_and_no_warning() {
    let mut project = Project::new("many_steps");
    for count in [1, 64, 65, 1_024] {
        project.add(&format!("steps_{count}"), &saga_of(count));
    }
    let found = project.check();
    assert!(found.values().all(Vec::is_empty), "{found:#?}");
}
