//! What the server's settings do to the promises.
//!
//! Redis acknowledges a write as its settings say: after it is on the disk, or up to a second before, or without any disk. The
//! promises begin with what is acknowledged.

use std::{collections::BTreeMap, fmt};

/// The settings that are looked at.
pub(super) const SETTINGS: [&str; 6] = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
    "proto-max-bulk-len",
];

/// Which promises the server's settings do not back, and what to set. It is shown as a text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    gaps: Vec<Gap>,
    cautions: Vec<String>,
}

/// A setting that does not back a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// What is set, or cannot be seen.
    pub found: String,
    /// What can be lost.
    pub loss: &'static str,
    /// The promises that are not backed.
    pub promises: &'static [&'static str],
    /// What to set.
    pub remedy: &'static str,
}

/// Whatever was acknowledged can be lost: instances, outputs, start keys, events.
const ALL: &[&str] = &["P1", "P2", "P10", "P11"];

impl Durability {
    /// Whether nothing that was acknowledged is lost when the server's process or its machine stops.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The settings that do not back the promises.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// What no setting mends: replication is asynchronous.
    #[must_use]
    pub fn cautions(&self) -> &[String] {
        &self.cautions
    }

    /// From a server's settings; `None`: it does not tell them.
    pub(super) fn judge(&mut self, settings: Option<&BTreeMap<String, String>>) {
        let Some(settings) = settings else {
            self.add(Gap {
                found: "the settings cannot be seen: CONFIG is denied".to_owned(),
                loss: "it is unknown what a stop of the server loses",
                promises: ALL,
                remedy: "appendonly yes, appendfsync always, maxmemory-policy noeviction (or let the user run CONFIG GET, and be told)",
            });
            return;
        };
        let get = |name: &str| settings.get(name).map_or("", String::as_str);
        if get("appendonly") != "yes" {
            self.add(Gap {
                found: format!("appendonly is `{}`", get("appendonly")),
                loss: "a stop of the server loses everything since its last snapshot",
                promises: ALL,
                remedy: "appendonly yes, appendfsync always",
            });
        } else if get("appendfsync") != "always" {
            self.add(Gap {
                found: format!("appendfsync is `{}`", get("appendfsync")),
                loss: "a stop of the machine loses what was acknowledged in the last second or more",
                promises: ALL,
                remedy: "appendfsync always",
            });
        } else if get("no-appendfsync-on-rewrite") == "yes" {
            self.add(Gap {
                found: "no-appendfsync-on-rewrite is `yes`".to_owned(),
                loss: "while the log is rewritten, a stop of the machine loses what was acknowledged meanwhile",
                promises: ALL,
                remedy: "no-appendfsync-on-rewrite no",
            });
        }
        let policy = get("maxmemory-policy");
        if policy.starts_with("allkeys") {
            self.add(Gap {
                found: format!("maxmemory-policy is `{policy}`"),
                loss: "a full server throws away instances, outputs and start keys",
                promises: ALL,
                remedy: "maxmemory-policy noeviction",
            });
        }
    }

    /// A server that has replicas, or a cluster.
    pub(super) fn warn_of_failover(&mut self, what: &str) {
        self.cautions.push(format!(
            "{what}: replication is asynchronous, so a failover can lose the last acknowledged writes (P1, P2, P10, P11); \
             `min-replicas-to-write 1` with a small `min-replicas-max-lag` bounds how many"
        ));
    }

    fn add(&mut self, gap: Gap) {
        // A cluster's nodes say the same.
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_durable() {
            f.write_str("the server's settings back every promise")?;
        } else {
            f.write_str("the server's settings do not back every promise")?;
        }
        for gap in &self.gaps {
            write!(
                f,
                "; {}: {} ({}); set {}",
                gap.found,
                gap.loss,
                gap.promises.join(", "),
                gap.remedy
            )?;
        }
        for caution in &self.cautions {
            write!(f, "; {caution}")?;
        }
        Ok(())
    }
}
