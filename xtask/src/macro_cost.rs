//! What `#[saga]` costs those who compile: the time of an expansion, and what a saga of ten steps adds to an incremental
//! `cargo check` over the same methods without attributes.

use crate::{Done, at, cargo, run, workspace};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const STEPS: usize = 10;
const RUNS: usize = 11;

pub(crate) fn measure() -> Done {
    run(&mut cargo(
        "test --release --package sagaz-macros --lib expansion_time -- --ignored --nocapture",
    ))?;
    let folder = workspace().join("target/macro-cost");
    let (saga, plain) = (Crate::new(&folder, true)?, Crate::new(&folder, false)?);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // Interleaved: the machine may be busy for a while.
    for round in 0..RUNS {
        with.push(saga.check(round)?);
        without.push(plain.check(round)?);
    }
    let (with, without) = (median_ms(&mut with), median_ms(&mut without));
    let added = with.cast_signed() - without.cast_signed();
    eprintln!(
        "incremental `cargo check` after an edit: {with} ms with a saga of {STEPS} steps, {without} ms with the same \
         methods and no attributes; it adds {added} ms"
    );
    Ok(())
}

fn median_ms(times: &mut [Duration]) -> u128 {
    times.sort();
    times[times.len() / 2].as_millis()
}

/// A user's crate.
struct Crate {
    folder: PathBuf,
    source: String,
}

impl Crate {
    fn new(folder: &Path, is_saga: bool) -> Result<Self, String> {
        let name = if is_saga { "saga" } else { "plain" };
        let folder = folder.join(name);
        let written = |path: PathBuf, text: &str| fs::write(&path, text).map_err(at(&path));
        fs::create_dir_all(folder.join("src")).map_err(at(&folder))?;
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nsagaz = {{ path = '{}' }}\n",
            workspace().display()
        );
        written(folder.join("Cargo.toml"), &manifest)?;
        let lock = fs::read_to_string(workspace().join("Cargo.lock"))
            .map_err(|error| format!("Cargo.lock: {error}"))?;
        written(folder.join("Cargo.lock"), &lock)?;
        let made = Self {
            folder,
            source: source(is_saga),
        };
        // Builds the dependencies.
        made.check(RUNS)?;
        Ok(made)
    }

    /// How long it takes after the body of a method has changed.
    fn check(&self, round: usize) -> Result<Duration, String> {
        let path = self.folder.join("src/lib.rs");
        fs::write(&path, self.source.replace("ROUND", &round.to_string())).map_err(at(&path))?;
        let mut command = cargo("check --quiet");
        command
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("../target"));
        let began = Instant::now();
        let status = command.status().map_err(|error| error.to_string())?;
        let took = began.elapsed();
        if status.success() {
            Ok(took)
        } else {
            Err(format!("{} does not compile", path.display()))
        }
    }
}

/// Ten methods in a row, each of which takes what the one before it gives.
fn source(is_saga: bool) -> String {
    let mut source =
        String::from("pub struct Shop;\n\npub type Done<T> = Result<T, std::io::Error>;\n\n");
    if is_saga {
        source.push_str("#[sagaz::saga]\n");
    }
    source.push_str("impl Shop {\n");
    for at in 0..STEPS {
        let (after, input, value) = match at.checked_sub(1) {
            None => (String::new(), String::new(), "ROUND".to_owned()),
            Some(before) => (
                format!(", depends_on = [step{before}]"),
                format!(", step{before}: &u64"),
                format!("step{before} + 1"),
            ),
        };
        if is_saga {
            let _ = writeln!(source, "    #[sagaz::step(no_compensation{after})]");
        }
        let _ = writeln!(
            source,
            "    pub async fn step{at}(&self{input}) -> Done<u64> {{\n        Ok({value})\n    }}"
        );
    }
    source + "}\n"
}
