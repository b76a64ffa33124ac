//! `cargo xtask`: the project's chores, so that CI and people type the same commands.
//!
//! Deliberately only the standard library: it is built before everything else. Each command is printed before it runs,
//! so that it can be repeated by hand, and the first one that fails ends the task.

mod bench;
mod chaos;
mod fuzz;
mod instructions;
mod macro_cost;
mod model;
mod mutants;
mod observe_cost;
mod services;

use services::Kind;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const USAGE: &str = "\
usage: cargo xtask <task>

  test         all tests of the workspace
  lint         format, clippy, documentation, and whether a run needs more instructions than it did
  ci           lint and test, then every feature alone, and what would be published
  services     `up`, `down` or `status` of the servers that tests need, or of those that are named behind it, such as
               `services up redis nats`; `test` starts them by itself
  bench        runs all benchmarks, or those that are named behind it, and writes `docs/benchmarks.md`; with `--quick` it only
               shows that they work
  instructions counts what runs need, and compares with `benches/instructions.txt`; `--update` writes that anew
  chaos        kills workers and servers, cuts connections, fills disks, and audits what is left: `chaos --store postgres
               --broker rabbitmq --minutes 60`; `chaos --help` tells the rest
  fuzz         looks for inputs that break what reads them, guided by coverage: all targets, or those that are named behind it;
               with `--seconds 600` for so long each, with `--keep` what it finds on the way goes into the corpus
  model        searches the formal model for what breaks a promise: all searches of CI, or those that are named behind it;
               with `--deep` those that take hours too
  matrix       the crash matrix on sagas of every shape: `matrix all`, or `matrix soak 60` for so many minutes
  mutants      breaks the engine on purpose, and shows that the crash matrix catches it: all ways of
               `tests/matrix/mutants.txt`, or those that are named behind it
  macro-cost   measures what `#[saga]` costs: its expansion, and a user's `cargo check`
  observe-cost measures what the features `metrics` and `otel` cost where nobody observes";

type Done = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["test"] => test(),
        ["lint"] => lint(),
        ["bench", ref names @ ..] => bench::command(names),
        ["instructions", ref arguments @ ..] => instructions::command(arguments),
        ["chaos", ref arguments @ ..] => chaos::command(arguments),
        ["fuzz", ref arguments @ ..] => fuzz::command(arguments),
        ["model", ref arguments @ ..] => model::command(arguments),
        ["matrix", ref words @ ..] => matrix(words),
        ["mutants", ref names @ ..] => mutants::hunt(names),
        ["macro-cost"] => macro_cost::measure(),
        ["observe-cost"] => observe_cost::measure(),
        ["services", verb, ref names @ ..] => services::command(verb, names),
        ["ci"] => lint()
            .and_then(|()| test())
            .and_then(|()| features())
            .and_then(|()| package()),
        ["help" | "--help" | "-h"] => {
            eprintln!("{USAGE}");
            Ok(())
        }
        [] => Err(format!("no task is given\n\n{USAGE}")),
        _ => Err(format!(
            "`{}` is not a task\n\n{USAGE}",
            arguments.join(" ")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this is a machine on which nothing may be left out.
fn is_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Also builds the examples, which some tests run. A server that cannot be had is a failure in CI, and elsewhere its tests
/// are left out, loudly.
fn test() -> Done {
    let mut tests = cargo("test --workspace --all-features --no-fail-fast");
    let (mut servers, mut left_out) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        match services::for_tests(kind) {
            Ok(server) => {
                tests.env(kind.variable(), &server.url);
                servers.push(server);
            }
            Err(why) => {
                left_out.push((kind.tests(), format!("all tests on {}: {why}", kind.name())));
            }
        }
    }
    for (names, program) in services::PROGRAMS {
        if let Err(why) = program.ensure() {
            left_out.push((names, format!("tests that start {}: {why}", program.what)));
        }
    }
    if is_ci() && !left_out.is_empty() {
        let why: Vec<_> = left_out.into_iter().map(|(_, why)| why).collect();
        return Err(format!(
            "in CI nothing is left out, and these would be: {}",
            why.join("; ")
        ));
    }
    if !left_out.is_empty() {
        tests.arg("--");
    }
    for (names, _) in &left_out {
        tests.args(["--skip", names]);
    }
    let has_checker = left_out.iter().all(|(names, _)| *names != model::TESTS);
    let done = run(&mut tests)
        .and_then(|()| {
            if has_checker {
                model::check_all()
            } else {
                Ok(())
            }
        })
        .and_then(|()| mutants::hunt(&[]));
    for (_, why) in left_out {
        eprintln!("\nSKIPPED: {why}");
    }
    done
}

/// The crash matrix by command, for longer than tests take.
fn matrix(words: &[&str]) -> Done {
    run(cargo("run --release --package sagaz-matrix --").args(words))
}

fn lint() -> Done {
    run(&mut cargo("fmt --all --check"))?;
    run(&mut cargo(
        "clippy --workspace --all-targets --all-features -- -D warnings",
    ))?;
    run(cargo("doc --workspace --no-deps --all-features").env("RUSTDOCFLAGS", "-D warnings"))?;
    instructions::check()
}

/// Each feature compiles without the others, and the library without any: features are additive, so what compiles alone
/// and together compiles in between.
fn features() -> Done {
    run(&mut cargo("check --package sagaz --no-default-features"))?;
    for feature in features_of(&workspace().join("Cargo.toml"))? {
        run(cargo("check --package sagaz --no-default-features --features").arg(feature))?;
    }
    run(&mut cargo("check --package sagaz --all-features"))
}

/// Packages what would be published. Nothing is uploaded, and nothing is built: `test` did that.
fn package() -> Done {
    run(&mut cargo(
        "package --workspace --exclude xtask --exclude xtask-containers --exclude renamed --exclude sagaz-model --exclude sagaz-matrix --exclude sagaz-fuzz --exclude sagaz-chaos --exclude sagaz-bench --exclude sagaz-instructions --no-verify --allow-dirty",
    ))?;
    // The migrations reach their package through a symbolic link, which is easily lost.
    let listing = output(&mut cargo(
        "package --package sagaz-storage --list --allow-dirty",
    ))?;
    let migrations = workspace().join("migrations");
    for file in sql_files(&migrations)? {
        let packaged =
            Path::new("migrations").join(file.strip_prefix(&migrations).unwrap_or(&file));
        if !listing.lines().any(|line| Path::new(line) == packaged) {
            return Err(format!(
                "{} is not in the package sagaz-storage",
                packaged.display()
            ));
        }
    }
    Ok(())
}

/// What is said of an error that is about a file, a folder or a program.
fn at(path: &Path) -> impl Fn(std::io::Error) -> String + Copy {
    move |error| format!("{}: {error}", path.display())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// `words` are arguments without spaces. What cargo has told this program of its own package is not passed on: build scripts that look
/// at it, such as that of `ring`, would run anew whenever one builds now by this program and now without it.
fn cargo(words: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(words.split_whitespace())
        .current_dir(workspace());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

fn run(command: &mut Command) -> Done {
    announce(command);
    let status = command
        .status()
        .map_err(|error| format!("failed to start {command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("failed ({status}): {}", shown(command)))
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    announce(command);
    let output = command
        .output()
        .map_err(|error| format!("failed to start {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "failed: {}\n{}",
            shown(command),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{}: {error}", shown(command)))
}

fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}='{}'",
            name.to_string_lossy(),
            value?.to_string_lossy()
        ))
    });
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    variables
        .chain([program.to_string_lossy().into_owned()])
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The names in the section `[features]`, read line by line: the lines are ours, and a TOML parser would be built first.
fn features_of(manifest: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(manifest).map_err(at(manifest))?;
    let section = text
        .lines()
        .skip_while(|line| *line != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let names: Vec<String> = section
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            line.split_once(" = ")
                .map(|(name, _)| name.trim().to_owned())
        })
        .filter(|name| name != "default")
        .collect();
    if names.is_empty() {
        Err(format!("{} has no features", manifest.display()))
    } else {
        Ok(names)
    }
}

/// All SQL files below the folder.
fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = at(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            files.extend(sql_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    Ok(files)
}
