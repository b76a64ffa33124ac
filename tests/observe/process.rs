//! Processes that are observed: this binary, with one of its tests as the body, or an example.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

/// The variable that says what a process is to do.
const PART: &str = "SAGAZ_OBSERVED_PART";

/// A process. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Reads what it logs, so that it never waits for that.
    logs: Option<JoinHandle<Vec<String>>>,
}

impl Process {
    /// Starts the test `body` as a process, and tells it its part.
    pub(crate) fn start(body: &str, part: &impl serde::Serialize) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([body, "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, serde_json::to_string(part).unwrap());
        Self::run(&mut command)
    }

    /// Starts a program that ends when its input does.
    pub(crate) fn run(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let logs = thread::spawn(|| stderr.lines().map_while(Result::ok).collect());
        Self {
            child,
            lines,
            logs: Some(logs),
        }
    }

    /// Waits until it says this.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        self.report(words).pop().unwrap()
    }

    /// What it says up to the line with these words.
    pub(crate) fn report(&mut self, last: &str) -> Vec<String> {
        let mut said = Vec::new();
        for line in self.lines.by_ref().map(Result::unwrap) {
            said.push(line);
            if said.last().is_some_and(|line| line.contains(last)) {
                return said;
            }
        }
        let logs = self.logs().join("\n");
        panic!("the process has ended without saying `{last}`, but {said:?}: {logs}")
    }

    /// What it has logged when it has ended.
    fn logs(&mut self) -> Vec<String> {
        let logs = self.logs.take();
        logs.map_or_else(Vec::new, |logs| logs.join().unwrap())
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has died by itself.
    pub(crate) fn wait_until_dead(mut self) {
        // Its input stays open meanwhile.
        let _input = self.child.stdin.take();
        assert!(!self.child.wait().unwrap().success());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, words: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{words}").unwrap();
        input.flush().unwrap();
    }

    /// Lets it end in good order, for its input ends, and gives what it has logged.
    pub(crate) fn end(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        let logs = self.logs();
        assert!(status.success(), "{}", logs.join("\n"));
        logs
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The part of this process; `None` if it is no such process.
pub(crate) fn part<T: serde::de::DeserializeOwned>() -> Option<T> {
    let part = env::var(PART).ok()?;
    Some(serde_json::from_str(&part).unwrap())
}

/// Tells the test that started this process.
pub(crate) fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "observed: {words}").unwrap();
    out.flush().unwrap();
}

/// Until the test lets this process end.
pub(crate) async fn until_told_to_end() {
    let mut input = tokio::io::stdin();
    let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
}
