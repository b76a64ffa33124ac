//! `cargo xtask`: the project's chores, so that CI and people type the same commands.
//!
//! Deliberately only the standard library: it is built before everything else. Each command is printed before it runs,
//! so that it can be repeated by hand, and the first one that fails ends the task.

mod macro_cost;
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
  lint         format, clippy, documentation
  ci           lint and test, then every feature alone, and what would be published
  services     `up`, `down` or `status` of the servers that tests need, or of those that are named behind it, such as
               `services up redis nats`; `test` starts them by itself
  macro-cost   measures what `#[saga]` costs: its expansion, and a user's `cargo check`
  observe-cost measures what the features `metrics` and `otel` cost where nobody observes";

type Done = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["test"] => test(),
        ["lint"] => lint(),
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

/// Also builds the examples, which some tests run. A server that cannot be had is a failure in CI, and elsewhere its tests
/// are left out, loudly.
fn test() -> Done {
    let mut tests = cargo("test --workspace --all-features");
    let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
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
    if is_ci && !left_out.is_empty() {
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
    let done = run(&mut tests);
    for (_, why) in left_out {
        eprintln!("\nSKIPPED: {why}");
    }
    done
}

fn lint() -> Done {
    run(&mut cargo("fmt --all --check"))?;
    run(&mut cargo(
        "clippy --workspace --all-targets --all-features -- -D warnings",
    ))?;
    run(cargo("doc --workspace --no-deps --all-features").env("RUSTDOCFLAGS", "-D warnings"))
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
        "package --workspace --exclude xtask --exclude xtask-containers --exclude renamed --no-verify --allow-dirty",
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

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// `words` are arguments without spaces.
fn cargo(words: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(words.split_whitespace())
        .current_dir(workspace());
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
    variables
        .chain(["cargo".to_owned()])
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The names in the section `[features]`, read line by line: the lines are ours, and a TOML parser would be built first.
fn features_of(manifest: &Path) -> Result<Vec<String>, String> {
    let text =
        fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
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
    let unreadable = |error| format!("{}: {error}", folder.display());
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
