//! What a real Prometheus makes of it.

mod alerts;
mod deploy;
mod orders;

use crate::{
    http,
    servers::{free_port, is_installed, skipped},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Ends the program when its own input ends, so that none outlives a test that is killed.
const KEEPER: &str =
    r#"prometheus "$@" >/dev/null 2>"$LOG" </dev/null & cat >/dev/null; kill -9 $!; wait $!"#;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server that scrapes every half second.
struct Prometheus {
    url: String,
    folder: TempDir,
    keeper: Child,
}

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// The rules as they are in the repository.
fn rules() -> String {
    fs::read_to_string(path("deploy/prometheus/rules.yaml")).unwrap()
}

impl Prometheus {
    /// One that scrapes this address, with these rules; `None` if it is not installed.
    fn start(target: &str, rules: &str) -> Option<Self> {
        if !is_installed("prometheus") {
            skipped("prometheus is not installed (Debian: `apt-get install prometheus`)");
            return None;
        }
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let config = serde_json::json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{ "job_name": "sagaz", "static_configs": [{ "targets": [target] }] }],
        });
        // What is JSON is YAML.
        fs::write(folder.path().join("config.yaml"), config.to_string()).unwrap();
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "prometheus"])
            .arg(format!(
                "--config.file={}",
                folder.path().join("config.yaml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .env("LOG", folder.path().join("log"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            url: format!("http://{address}"),
            folder,
            keeper,
        };
        server.wait("Prometheus is ready", || {
            match http::get(&format!("{}/-/ready", server.url)) {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        Some(server)
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = http::get(&format!("{}/api/v1/{path}", self.url)).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"].clone()
    }

    /// What a query gives now.
    fn query(&self, query: &str) -> Vec<Sample> {
        let data = self.api(&format!("query?query={}", encoded(query)));
        let sample = |sample: &Value| {
            let labels = sample["metric"].as_object().unwrap().iter();
            let labels =
                labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
            let value = sample["value"][1].as_str().unwrap().parse().unwrap();
            (labels.collect(), value)
        };
        match data["resultType"].as_str() {
            Some("vector") => data["result"]
                .as_array()
                .unwrap()
                .iter()
                .map(sample)
                .collect(),
            other => panic!("`{query}` gives a {other:?}"),
        }
    }

    /// The alerts that fire.
    fn firing(&self) -> BTreeMap<String, Value> {
        let data = self.api("alerts");
        let alerts = data["alerts"].as_array().unwrap().iter();
        alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| {
                (
                    alert["labels"]["alertname"].as_str().unwrap().to_owned(),
                    alert.clone(),
                )
            })
            .collect()
    }

    /// Waits until a look gives something; until then it says what it sees instead.
    #[track_caller]
    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
        let began = Instant::now();
        loop {
            let seen = match look() {
                Ok(found) => return found,
                Err(seen) => seen,
            };
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(
                began.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}, but {seen}\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// For the query of a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A file or folder of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
