//! The run for every day: all files of a corpus, and a fixed number of mutants of them.
//!
//! Invariant: two runs with one corpus see the same inputs.

use crate::{mutation::mutant, named};
use std::{
    cell::Cell,
    env, fs,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process, str,
    sync::{
        Once,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

/// An input for which a target runs longer than this will never end: most take less than a millisecond.
const HANGS_AFTER: Duration = Duration::from_mins(2);

type Run = fn(&[u8]);

/// Runs a target; `SAGAZ_FUZZ_MUTANTS` is another number of mutants. What it fails for is left in `scratch`.
///
/// # Panics
///
/// If the target fails, and if that number is none.
pub fn bounded(name: &str, scratch: &Path) {
    let target = named(name);
    leave_out_quiet_threads();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let (files, corpus) = read(&folder);
    let chosen = env::var("SAGAZ_FUZZ_MUTANTS").ok();
    let mutants = chosen.map_or(target.mutants, |chosen| {
        chosen.parse().expect("SAGAZ_FUZZ_MUTANTS is no number")
    });
    let watch = watch(name.to_owned());
    let judge = |what: String, input: &[u8]| {
        let _ = watch.send(what.clone());
        if fails(target.run, input) {
            report(&what, input, target.run, &scratch.join(name), &folder);
        }
    };
    for (file, input) in files.iter().zip(&corpus) {
        judge(file.display().to_string(), input);
    }
    for seed in 0..mutants {
        judge(format!("mutant {seed}"), &mutant(&corpus, seed));
    }
}

/// Files and what is in them, in the order of their names.
fn read(folder: &Path) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let corpus = files
        .iter()
        .map(|file| fs::read(file).expect("the file can be read"))
        .collect();
    (files, corpus)
}

thread_local! {
    /// Whether panics of this thread go untold. The hook is one of all threads, which run other targets meanwhile.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The hook that there was, but for threads that are quiet.
fn leave_out_quiet_threads() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                hook(panic);
            }
        }));
    });
}

fn fails(target: Run, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).is_err()
}

fn report(what: &str, input: &[u8], target: Run, scratch: &Path, folder: &Path) -> ! {
    // The reason has been told; the same once more for each attempt to shrink it would hide it.
    IS_QUIET.set(true);
    let input = shrunk(input, target);
    IS_QUIET.set(false);
    fs::create_dir_all(scratch).expect("a place for what is found");
    let file = scratch.join("found");
    fs::write(&file, &input).expect("a place for what is found");
    let text =
        str::from_utf8(&input).map_or_else(|_| format!("{input:?}"), |text| format!("{text:?}"));
    panic!(
        "it fails for {what} (the reason is above), and for {text}. That is in {}; to keep it, put it into {}",
        file.display(),
        folder.display()
    );
}

/// Without the parts that it fails without as well.
fn shrunk(input: &[u8], target: Run) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut length = input.len().div_ceil(2);
    while length > 0 {
        let mut from = 0;
        while from < input.len() {
            let to = (from + length).min(input.len());
            let mut less = input.clone();
            less.drain(from..to);
            if fails(target, &less) {
                input = less;
            } else {
                from = to;
            }
        }
        length = if length == 1 { 0 } else { length.div_ceil(2) };
    }
    input
}

/// Ends the process if a target does not come to an end: nothing else can stop it.
fn watch(name: String) -> Sender<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut current = "the beginning".to_owned();
        loop {
            match receiver.recv_timeout(HANGS_AFTER) {
                Ok(what) => current = what,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("fuzz target `{name}` hangs at {current}");
                    process::abort();
                }
            }
        }
    });
    sender
}
