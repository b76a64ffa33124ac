//! A private Apache Kafka of one node, which is its own controller. It is had from Maven Central, as jars, since no distribution
//! packages it; they are kept in the user's cache folder.

use super::{
    Kind,
    native::{empty, find, folder, free_port, install, is_alive, succeeded, terminate},
};
use crate::{Done, at};
use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Of the last line that runs on Java 11.
const VERSION: &str = "3.9.1";

const PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct Kafka {
    folder: PathBuf,
}

/// Whether tests can start servers themselves, after a download if the jars are not there.
pub(super) fn ensure() -> Done {
    jars().map(|_| ())
}

/// The folder of its jars. Tests that start servers themselves look for them there.
fn cached() -> Result<PathBuf, String> {
    let absolute = |variable| {
        env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".to_owned())?;
    Ok(cache.join(format!("sagaz/kafka-{VERSION}")))
}

fn jars() -> Result<PathBuf, String> {
    let variable = Some(Kind::Kafka.variable());
    if find("java").is_none() {
        install(
            "default-jre-headless",
            "Java, which Kafka runs on,",
            variable,
        )?;
    }
    let jars = cached()?;
    if jars.exists() {
        return Ok(jars);
    }
    if find("mvn").is_none() {
        install("maven", "Maven, by which Kafka is had,", variable)?;
    }
    // Under another name until it is complete.
    let incoming = jars.with_extension(format!("incoming-{}", std::process::id()));
    empty(&incoming)?;
    let project = incoming.join("pom.xml");
    fs::write(&project, pom()).map_err(at(&project))?;
    eprintln!("$ mvn dependency:copy-dependencies (Apache Kafka {VERSION})");
    let done = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&project)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", incoming.display()))
        .status()
        .map_err(|error| error.to_string())
        .and_then(succeeded("mvn dependency:copy-dependencies"));
    if let Err(why) = done {
        let _ = fs::remove_dir_all(&incoming);
        return Err(why);
    }
    if fs::rename(&incoming, &jars).is_err() {
        // Somebody else was faster.
        let _ = fs::remove_dir_all(&incoming);
    }
    Ok(jars)
}

/// A project that depends on Kafka, and on something that writes its log.
fn pom() -> String {
    let dependency = |group: &str, name: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>sagaz</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>{}{}</dependencies></project>",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    )
}

impl Kafka {
    pub(super) fn at(name: &str) -> Self {
        Self {
            folder: folder(name),
        }
    }

    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.folder.join("url")).ok()?;
        tells_versions(url.strip_prefix("kafka://")?).then_some(url)
    }

    pub(super) fn start(&self) -> Result<String, String> {
        let jars = jars()?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        let (port, controller) = (free_port()?, free_port()?);
        let settings = self.folder.join("server.properties");
        fs::write(&settings, self.settings(port, controller)).map_err(at(&settings))?;
        java(&jars, "kafka.tools.StorageTool")
            .args(["format", "-t", "c2FnYXotdGVzdC1rYWZrYQ", "-c"])
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| error.to_string())
            .and_then(succeeded("kafka.tools.StorageTool format"))?;
        let log = fs::File::create(self.folder.join("log")).map_err(at(&self.folder))?;
        let errors = log.try_clone().map_err(at(&self.folder))?;
        let mut server = java(&jars, "kafka.Kafka")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // It outlives this program, and what is typed at its terminal.
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let url = format!("kafka://127.0.0.1:{port}");
        for (name, text) in [("url", &url), ("pid", &server.id().to_string())] {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(at(&path))?;
        }
        let began = Instant::now();
        while self.running().is_none() {
            let has_ended = server.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || began.elapsed() > PATIENCE {
                return Err(format!(
                    "Kafka does not answer; see {}",
                    self.folder.join("log").display()
                ));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(url)
    }

    /// A topic exists only after it was made, so that a test can miss one.
    fn settings(&self, port: u16, controller: u16) -> String {
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            self.folder.join("data").display()
        )
    }

    pub(super) fn stop(&self) -> Done {
        if self.running().is_none() {
            return Ok(());
        }
        let path = self.folder.join("pid");
        let pid = fs::read_to_string(&path).map_err(at(&path))?;
        terminate(&pid);
        let began = Instant::now();
        // It says good-bye to itself for a while after it has stopped to answer.
        while is_alive(&pid) {
            if began.elapsed() > PATIENCE {
                return Err(format!("Kafka (process {pid}) does not stop"));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(jars.join("*"))
        .arg(class);
    command
}

/// Whether a server there answers which versions of requests it knows, the first question of every client.
fn tells_versions(address: &str) -> bool {
    let answer = || -> Option<[u8; 8]> {
        let mut connection = TcpStream::connect(address).ok()?;
        let patience = Some(Duration::from_secs(10));
        connection.set_read_timeout(patience).ok()?;
        // Its length; which request, of which version; the number that the answer repeats; no name of a client.
        connection
            .write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])
            .ok()?;
        let mut head = [0; 8];
        connection.read_exact(&mut head).ok()?;
        Some(head)
    };
    answer().is_some_and(|head| head[4..] == [0, 0, 0, 7])
}
