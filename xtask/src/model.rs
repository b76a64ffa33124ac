//! The formal model in `model/`, and its checker.
//!
//! Each search has to find nothing broken and to come by what it is about; and each mutation of the model has to break the promises
//! that `docs/model.md` names beside it, so that it is known that the model can fail, and for which reason.

#[cfg(test)]
mod map;
mod searches;
mod told;

use crate::{Done, at, services::tlc::jar, workspace};
use searches::{
    DEEP,
    Finds::{Mutations, Sights},
    SEARCHES, Search,
};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

/// What the names of the tests that need the checker begin with.
pub(crate) const TESTS: &str = "model_";

/// Where it is written which promises each mutation breaks.
const PAGE: &str = "docs/model.md";

/// `cargo xtask model`: all that CI makes, and with `--deep` the long ones too; or those that are named behind it.
pub(crate) fn command(arguments: &[&str]) -> Done {
    let is_deep = arguments.contains(&"--deep");
    let names: Vec<&str> = arguments
        .iter()
        .copied()
        .filter(|it| *it != "--deep")
        .collect();
    for name in &names {
        if !searches::all().any(|search| search.config == *name) {
            let known: Vec<_> = searches::all().map(|search| search.config).collect();
            return Err(format!(
                "`{name}` is none of the searches {}",
                known.join(", ")
            ));
        }
    }
    if names.is_empty() {
        check_all()?;
        if is_deep {
            DEEP.iter().try_for_each(|search| search.check(cores()))?;
        }
        return Ok(());
    }
    if is_deep {
        return Err(
            "`--deep` is all searches, the long ones too; a long one that is named is searched without it"
                .to_owned(),
        );
    }
    searches::all()
        .filter(|search| names.contains(&search.config))
        .try_for_each(|search| search.check(cores()))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What CI runs: as many searches at once as there are cores, each on one of them, since most of them are short.
pub(crate) fn check_all() -> Done {
    jar()?;
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(search) = SEARCHES.get(next.fetch_add(1, Ordering::Relaxed)) {
            search.check(1)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores()).map(|_| scope.spawn(work)).collect();
        let ended = |worker: thread::ScopedJoinHandle<'_, Done>| {
            worker
                .join()
                .unwrap_or_else(|_| Err("a search panicked".to_owned()))
        };
        // All of them, so that none is left running.
        let ended: Vec<Done> = workers.into_iter().map(ended).collect();
        ended.into_iter().collect()
    })
}

impl Search {
    fn check(&self, cores: usize) -> Done {
        let began = Instant::now();
        let states = self.run(&jar()?, cores)?;
        eprintln!(
            "{} {}: {states}, {:.1} s",
            self.module,
            self.config,
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// How many states there are, in words.
    fn run(&self, jar: &Path, cores: usize) -> Result<String, String> {
        let (module, config) = (self.module, self.config);
        let folder = workspace().join("model");
        let metadata = workspace().join("target/model").join(config);
        // One worker where each mutation is told of once.
        let workers = match self.finds {
            Sights(_) => cores.to_string(),
            Mutations => "1".to_owned(),
        };
        fs::create_dir_all(&metadata).map_err(at(&metadata))?;
        let output = Command::new("java")
            // It unpacks its own modules there, and would overwrite what another one is reading.
            .arg(format!("-Djava.io.tmpdir={}", metadata.display()))
            .args(["-XX:+UseParallelGC", "-Xmx2g", "-cp"])
            .arg(jar)
            .args(["tlc2.TLC", "-deadlock", "-workers", &workers, "-metadir"])
            .arg(&metadata)
            .args(["-config", &format!("{config}.cfg")])
            .arg(format!("{module}.tla"))
            .current_dir(&folder)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("java: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let _ = fs::remove_dir_all(&metadata);
        let fails = |why: &str| Err(format!("{text}\nmodel/{module}.tla, {config}.cfg: {why}"));
        if !text.contains("Model checking completed. No error has been found.") {
            return fails("the search found an error, or did not end");
        }
        match self.finds {
            Sights(sights) => {
                let seen = told::seen(&text);
                if let Some(sight) = sights.iter().find(|sight| !seen.contains(*sight)) {
                    return fails(&format!("no state was seen that is \"{sight}\""));
                }
            }
            Mutations => {
                let read = |path: &Path| fs::read_to_string(path).map_err(at(path));
                let settings = read(&folder.join(format!("{config}.cfg")))?;
                let page = read(&workspace().join(PAGE))?;
                if let Err(why) = are_caught(&settings, &text, &page) {
                    return fails(&why);
                }
            }
        }
        let states = text
            .lines()
            .filter(|line| !line.starts_with("Progress"))
            .find_map(|line| line.strip_suffix(", 0 states left on queue."));
        Ok(states.unwrap_or_default().to_owned())
    }
}

/// Each mutation of the settings breaks what the page says, and nothing else.
fn are_caught(settings: &str, output: &str, page: &str) -> Done {
    let (mutations, caught, table) = (
        told::mutations(settings),
        told::caught(output),
        told::table(page),
    );
    if mutations.is_empty() {
        return Err("it has no mutations".to_owned());
    }
    for mutation in mutations {
        let Some(promises) = caught.get(mutation) else {
            return Err(format!("the mutation \"{mutation}\" breaks no promise"));
        };
        if table.get(mutation) != Some(promises) {
            return Err(format!(
                "the mutation \"{mutation}\" breaks {promises:?}, and {PAGE} says otherwise"
            ));
        }
    }
    Ok(())
}
