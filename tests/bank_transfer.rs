//! The example `bank_transfer`, killed now and then: no cent is lost between two databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// Built with the tests.
fn example() -> PathBuf {
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/bank_transfer")
}

fn transfers(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example());
    command.args(["--server", server]);
    command.args(arguments);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn nonsense_is_refused_in_words() {
    for (server, words) in [
        ("mysql://localhost/x", "write `postgres://"),
        (
            "postgres://nobody@127.0.0.1:1/x",
            "cannot connect to --server",
        ),
    ] {
        let output = transfers(server, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(words), "{}", text(&output));
    }
}

mod postgres {
    use super::*;

    #[tokio::test]
    async fn p2_p4_no_cent_is_lost_between_two_databases_whenever_the_process_dies() {
        let server = env::var("SAGAZ_TEST_POSTGRES_URL")
            .expect("`cargo xtask test` starts a server, or SAGAZ_TEST_POSTGRES_URL names one");
        let fresh = transfers(&server, &["--fresh", "--transfers", "0"]).output();
        assert!(fresh.unwrap().status.success());
        // Later and later in its work.
        for life in [200_u64, 350, 500, 650, 800] {
            let mut process = transfers(&server, &["--transfers", "300"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_millis(life)).await;
            process.kill().unwrap();
            process.wait().unwrap();
        }
        let other_seed = transfers(&server, &["--seed", "2"]).output().unwrap();
        assert!(text(&other_seed).contains("--fresh begins anew"));
        let output = transfers(&server, &["--transfers", "300"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let told = text(&output);
        assert!(told.contains("300 transfers: "), "{told}");
        assert!(told.contains("the books balance"), "{told}");
        for state in ["done", "undone"] {
            let barrier = told
                .lines()
                .filter_map(|line| line.strip_prefix("barrier: "));
            assert!(
                barrier
                    .into_iter()
                    .any(|line| line.ends_with(&format!(" {state}"))),
                "{told}"
            );
        }
    }
}
