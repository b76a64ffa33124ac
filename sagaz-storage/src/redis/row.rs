//! An instance's hash as the values of the store's contract.
//!
//! Invariant: whatever is stored and cannot be read is an [`Unreadable`] that names what it is; nothing is guessed.

use crate::value::{as_u64, time};
use sagaz_core::{
    Payload, SagaId, StepKind,
    store::{DefinitionKey, InstanceState, Snapshot, StepRow, StepState, StoredStep, Summary},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

/// A stored value that this code cannot have written.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The step that it is of.
    pub(super) step: Option<String>,
    what: String,
}

impl Unreadable {
    fn new(what: &str, value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        Self {
            step: None,
            what: format!("the stored {what} {value:?} is not of this store"),
        }
    }

    fn of(self, step: &str) -> Self {
        Self {
            step: Some(step.to_owned()),
            ..self
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Unreadable {}

/// What is stored of a step beside its times and its output.
#[derive(Serialize, Deserialize)]
pub(super) struct StepRecord<'a> {
    pub(super) kind: &'a str,
    pub(super) state: &'a str,
    pub(super) attempts: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) undo_attempts: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) recoveries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The fields of a [`summary`], in the order in which they are asked for.
pub(super) const SUMMARY: [&str; 14] = [
    "saga",
    "version",
    "fingerprint",
    "state",
    "pivot",
    "owner",
    "epoch",
    "takeovers",
    "key",
    "failure",
    "stuck",
    "created",
    "updated",
    "cancel",
];

/// The fields of an instance.
pub(super) struct Fields(HashMap<Vec<u8>, Vec<u8>>);

impl Fields {
    /// From names and values in turn.
    pub(super) fn new(pairs: Vec<Vec<u8>>) -> Self {
        let mut fields = HashMap::with_capacity(pairs.len() / 2);
        let mut pairs = pairs.into_iter();
        while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
            fields.insert(name, value);
        }
        Self(fields)
    }

    /// From the values of [`SUMMARY`].
    pub(super) fn of_summary(values: impl Iterator<Item = Option<Vec<u8>>>) -> Self {
        let named = SUMMARY.iter().zip(values);
        Self(
            named
                .filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?)))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name.as_bytes()).map(Vec::as_slice)
    }

    fn text(&self, name: &str) -> Result<String, Unreadable> {
        let value = self.get(name).unwrap_or_default();
        match std::str::from_utf8(value) {
            Ok(text) if self.get(name).is_some() => Ok(text.to_owned()),
            _ => Err(Unreadable::new(name, value)),
        }
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<T, Unreadable> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| Unreadable::new(name, text.as_bytes()))
    }

    /// Nothing, and an empty text, are `None`.
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Unreadable> {
        match self.get(name) {
            None | Some([]) => Ok(None),
            Some(text) => serde_json::from_slice(text)
                .map(Some)
                .map_err(|_| Unreadable::new(name, text)),
        }
    }

    fn state(&self) -> Result<InstanceState, Unreadable> {
        let word = self.text("state")?;
        InstanceState::from_word(&word)
            .ok_or_else(|| Unreadable::new("state of an instance", word.as_bytes()))
    }

    /// For a list: a failure or a reason to be stuck that cannot be read is left out, so that it hides no other row.
    pub(super) fn summary(&self, id: SagaId) -> Result<Summary, Unreadable> {
        let mut summary = self.standing(id)?;
        summary.failure = self.json("failure").unwrap_or_default();
        summary.stuck = self.json("stuck").unwrap_or_default();
        Ok(summary)
    }

    /// Without failure and stuck.
    fn standing(&self, id: SagaId) -> Result<Summary, Unreadable> {
        let definition = DefinitionKey {
            saga: self.text("saga")?,
            version: self.parsed("version")?,
            fingerprint: self.text("fingerprint")?,
        };
        let mut summary = Summary::new(id, definition, time(self.parsed("created")?));
        summary.state = self.state()?;
        summary.pivot_passed = self.get("pivot") == Some(b"1");
        summary.owner = match self.get("owner") {
            None | Some([]) => None,
            Some(_) => Some(self.parsed("owner")?),
        };
        summary.epoch = self.parsed("epoch")?;
        summary.takeovers = self.parsed("takeovers")?;
        if self.get("key").is_some() {
            summary.start_key = Some(self.text("key")?);
        }
        summary.updated_at = time(self.parsed("updated")?);
        Ok(summary)
    }

    /// The instance with its steps, as they were at this time by the server's clock.
    pub(super) fn snapshot(&self, id: SagaId, now_ms: i64) -> Result<Snapshot, Unreadable> {
        let mut summary = self.standing(id)?;
        summary.failure = self.json("failure")?;
        summary.stuck = self.json("stuck")?;
        let input = Payload {
            content_type: self.text("type")?,
            bytes: self
                .get("input")
                .ok_or_else(|| Unreadable::new("input", b"none"))?
                .to_vec(),
        };
        let mut snapshot = Snapshot::new(summary, input);
        if self.get("trace").is_some() {
            snapshot.trace = Some(self.text("trace")?);
        }
        if self.get("deadline").is_some() {
            snapshot.deadline = Some(left(self.parsed("deadline")?, now_ms));
        }
        snapshot.cancel_requested = self.get("cancel") == Some(b"1");
        snapshot.interventions = self.json("interventions")?.unwrap_or_default();
        for (name, row) in self.step_rows() {
            let name = name?;
            let step = self.step(&name, row, now_ms);
            snapshot.steps.push(step.map_err(|error| error.of(&name))?);
        }
        Ok(snapshot)
    }

    /// The stored steps as far as a claim looks at them.
    pub(super) fn stored_steps(&self) -> Result<Vec<StoredStep>, Unreadable> {
        self.step_rows()
            .map(|(name, row)| {
                let name = name?;
                let (_, _, record) = split(row)?;
                Ok(StoredStep {
                    state: step_state(record.state)?,
                    kind: StepKind::from_word(record.kind)
                        .ok_or_else(|| Unreadable::new("kind of a step", record.kind.as_bytes()))?,
                    name,
                })
            })
            .collect()
    }

    fn step_rows(&self) -> impl Iterator<Item = (Result<String, Unreadable>, &[u8])> {
        self.0.iter().filter_map(|(name, row)| {
            let name = name.strip_prefix(b"s:")?;
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| Unreadable::new("name of a step", name));
            Some((name, row.as_slice()))
        })
    }

    fn step(&self, name: &str, row: &[u8], now_ms: i64) -> Result<StepRow, Unreadable> {
        let (updated, wake, record) = split(row)?;
        let output = match self.get(&format!("o:{name}")) {
            None => None,
            Some(bytes) => Some(Payload {
                content_type: self.text(&format!("t:{name}"))?,
                bytes: bytes.to_vec(),
            }),
        };
        Ok(StepRow {
            name: name.to_owned(),
            state: step_state(record.state)?,
            attempts: record.attempts,
            undo_attempts: record.undo_attempts,
            recoveries: record.recoveries,
            output,
            error: record.error,
            wake: wake.map(|wake| left(wake, now_ms)),
            updated_at: time(updated),
        })
    }
}

/// When it was written, when the step is attempted again, and the record.
fn split(row: &[u8]) -> Result<(i64, Option<i64>, StepRecord<'_>), Unreadable> {
    let unreadable = || Unreadable::new("row of a step", row);
    let text = std::str::from_utf8(row).map_err(|_| unreadable())?;
    let mut parts = text.splitn(3, ' ');
    let (Some(updated), Some(wake), Some(record)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(unreadable());
    };
    let updated = updated.parse().map_err(|_| unreadable())?;
    let wake = match wake {
        "" => None,
        wake => Some(wake.parse().map_err(|_| unreadable())?),
    };
    let record = serde_json::from_str(record).map_err(|_| unreadable())?;
    Ok((updated, wake, record))
}

fn step_state(word: &str) -> Result<StepState, Unreadable> {
    StepState::from_word(word).ok_or_else(|| Unreadable::new("state of a step", word.as_bytes()))
}

fn left(at_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(as_u64(at_ms.saturating_sub(now_ms)))
}
