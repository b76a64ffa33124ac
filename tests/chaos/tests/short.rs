//! Short runs of the chaos, on servers that they start themselves. `SAGAZ_SEED` repeats the plan of a run that failed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// A conductor. It ends with the test, however that ends: the end of its input tells it so, and one that is dropped is killed. Its workers
/// and servers end with it.
struct Conductor(Child);

impl Drop for Conductor {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id().cast_signed());
        // One that was waited for has given its number back.
        if let (Ok(None), Some(group)) = (self.0.try_wait(), group) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

fn chaos(store: &str, broker: &str, minutes: &str, workers: &str) {
    let seed = std::env::var("SAGAZ_SEED").ok();
    let seed = seed.unwrap_or_else(|| fastrand::u64(..).to_string());
    let conductor = Command::new(env!("CARGO_BIN_EXE_sagaz-chaos"))
        .args(["run", "--store", store, "--broker", broker])
        .args(["--minutes", minutes, "--workers", workers, "--seed", &seed])
        .args(["--rate", "15", "--ends-with-input"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut conductor = Conductor(conductor.unwrap());
    let mut told = Vec::new();
    let errors = conductor.0.stderr.as_mut().unwrap();
    errors.read_to_end(&mut told).unwrap();
    // Its input stays open: `wait` would close it.
    let input = conductor.0.stdin.take();
    let status = conductor.0.wait().unwrap();
    drop(input);
    let told = String::from_utf8_lossy(&told);
    assert!(
        status.success(),
        "chaos on {store} and {broker} ({status}); SAGAZ_SEED={seed} makes the same plan again:\n{told}"
    );
    eprintln!("{told}");
}

/// By these names they are left out where their servers cannot be started.
mod native_postgres {
    mod own_rabbitmq {
        #[test]
        fn two_minutes_of_chaos_and_every_promise_is_kept() {
            crate::chaos("postgres", "rabbitmq", "2", "4");
        }
    }
}

mod own_server {
    use crate::Conductor;
    use std::{
        fs,
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        path::Path,
        process::{Command, Stdio},
    };

    #[test]
    fn half_a_minute_of_chaos_on_redis_alone_and_every_promise_is_kept() {
        crate::chaos("redis", "redis", "0.5", "3");
    }

    #[test]
    fn a_run_ends_with_whoever_has_started_it() {
        let folder = format!("chaos-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let conductor = Command::new(env!("CARGO_BIN_EXE_sagaz-chaos"))
            .args(["run", "--store", "redis", "--broker", "redis"])
            .args(["--minutes", "600", "--ends-with-input", "--folder"])
            .arg(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut conductor = Conductor(conductor.unwrap());
        let errors = BufReader::new(conductor.0.stderr.take().unwrap());
        let mut lines = errors.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("faults are planned")));
        drop(conductor.0.stdin.take());
        assert!(lines.any(|line| line.contains("its input has ended")));
        assert!(!conductor.0.wait().unwrap().success());
        // It stays, as of every run that was not found well.
        fs::remove_dir_all(folder).unwrap();
    }
}
