//! What a store on a database makes of the candidates of a claim: [`Claim::judge`] decides, and this says what is to be
//! written then.

use crate::value::millis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::value::{decoding, from_json, step_state, unreadable};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use sagaz_core::StepKind;
use sagaz_core::{
    EngineId, SagaId, StuckReason,
    store::{Candidate, Claim, DefinitionKey, InstanceState, Poisoned, StoredStep, Verdict},
};
use serde::Serialize;
use serde_json::json as json_value;

/// How often a look goes on behind candidates that the claim cannot take.
pub(crate) const LOOKS_MAX: usize = 32;

/// How many more candidates than the limit a look reads of each version.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const LOOK_EXTRA: u32 = 64;

/// A version of a saga that the claim can run.
#[derive(Debug, Serialize)]
pub(crate) struct Registered<'a> {
    pub(crate) saga: &'a str,
    pub(crate) version: u32,
    pub(crate) is_older: bool,
    pub(crate) suspect_after: u32,
}

/// How a candidate stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) saga: String,
    pub(crate) fingerprint: String,
    pub(crate) takeovers: u32,
    pub(crate) is_orphaned: bool,
    pub(crate) steps: Vec<StoredStep>,
}

/// Why an instance cannot be read: a [`Stuck`](sagaz_core::Stuck) as the text that is stored.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Unreadable(pub(crate) String);

/// An instance that becomes stuck because it cannot be read.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug, Serialize)]
pub(crate) struct Aside<Id = SagaId> {
    pub(crate) id: Id,
    pub(crate) stuck: Unreadable,
}

/// What becomes of an instance.
#[derive(Debug, Serialize)]
pub(crate) struct Decision {
    pub(crate) id: SagaId,
    #[serde(skip)]
    saga: String,
    pub(crate) owner: Option<EngineId>,
    pub(crate) takeovers: u32,
    pub(crate) version: u32,
    pub(crate) fingerprint: String,
    pub(crate) state: Option<&'static str>,
    /// As the text that is stored.
    pub(crate) stuck: Option<String>,
    pub(crate) wake_ms: Option<i64>,
    #[serde(skip)]
    pub(crate) is_orphaned: bool,
    /// Started with an older version than the one that it is taken under.
    #[serde(skip)]
    pub(crate) is_adopted: bool,
    pub(crate) is_suspect: bool,
}

pub(crate) fn versions(claim: &Claim) -> Vec<Registered<'_>> {
    let mut versions = Vec::new();
    for runnable in &claim.runnable {
        let (saga, own) = (runnable.key.saga.as_str(), runnable.key.version);
        let older = runnable
            .accepts
            .iter()
            .copied()
            .filter(|version| *version != own);
        let all = [(own, false)]
            .into_iter()
            .chain(older.map(|version| (version, true)));
        for (version, is_older) in all {
            if !versions
                .iter()
                .any(|known: &Registered<'_>| known.saga == saga && known.version == version)
            {
                versions.push(Registered {
                    saga,
                    version,
                    is_older,
                    suspect_after: claim.suspect_after,
                });
            }
        }
    }
    versions
}

impl Unreadable {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn new(step: Option<&str>, error: &sqlx::Error) -> Self {
        Self::because(step, &decoding(error))
    }

    pub(crate) fn because(step: Option<&str>, message: &str) -> Self {
        let stuck =
            json_value!({ "step": step, "reason": StuckReason::Undecodable, "message": message });
        Self(stuck.to_string())
    }
}

/// How much the claim can still take.
pub(crate) struct Room {
    pub(crate) limit: u32,
    pub(crate) suspect: bool,
}

impl Room {
    pub(crate) fn new(claim: &Claim) -> Self {
        Self {
            limit: claim.limit,
            suspect: claim.suspect,
        }
    }

    /// What becomes of the candidate; `None` if it is left untouched.
    pub(crate) fn judge(
        &mut self,
        claim: &Claim,
        version: u32,
        standing: &Standing,
    ) -> Option<Verdict> {
        let verdict = claim.judge(
            &Candidate {
                saga: &standing.saga,
                version,
                fingerprint: &standing.fingerprint,
                takeovers: standing.takeovers,
                orphaned: standing.is_orphaned,
            },
            &standing.steps,
        );
        match verdict {
            Verdict::Skip => return None,
            Verdict::Take(_) => self.limit = self.limit.checked_sub(1)?,
            Verdict::TakeSuspect(_) if !self.suspect => return None,
            Verdict::TakeSuspect(_) => self.suspect = false,
            Verdict::Postpone(_) | Verdict::Poison => {}
        }
        Some(verdict)
    }
}

impl Decision {
    pub(crate) fn new(
        claim: &Claim,
        id: SagaId,
        version: u32,
        standing: Standing,
        verdict: Verdict,
    ) -> Self {
        let takeovers = standing
            .takeovers
            .saturating_add(u32::from(standing.is_orphaned));
        let mut decision = Self {
            id,
            saga: standing.saga,
            owner: None,
            takeovers,
            version,
            fingerprint: standing.fingerprint,
            state: None,
            stuck: None,
            wake_ms: None,
            is_orphaned: standing.is_orphaned,
            is_adopted: false,
            is_suspect: matches!(verdict, Verdict::TakeSuspect(_)),
        };
        match verdict {
            Verdict::Take(DefinitionKey {
                version,
                fingerprint,
                ..
            })
            | Verdict::TakeSuspect(DefinitionKey {
                version,
                fingerprint,
                ..
            }) => {
                decision.owner = Some(claim.engine);
                decision.is_adopted = decision.version != version;
                decision.version = version;
                decision.fingerprint = fingerprint;
            }
            Verdict::Postpone(delay) => decision.wake_ms = Some(millis(delay)),
            Verdict::Poison => {
                let message = format!(
                    "taken over {takeovers} times without a step being stored: it may be killing its processes"
                );
                let stuck = json_value!({ "step": null, "reason": StuckReason::Poison, "message": message });
                decision.stuck = Some(stuck.to_string());
                decision.state = Some(InstanceState::Stuck.as_str());
            }
            Verdict::Skip => {}
        }
        decision
    }

    /// Whether the instance was found to be poison.
    pub(crate) fn poisoned(&self) -> Option<Poisoned> {
        self.state.is_some().then(|| Poisoned {
            id: self.id,
            saga: self.saga.clone(),
        })
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn stored_steps(text: Option<String>) -> Result<Vec<StoredStep>, sqlx::Error> {
    let steps: Option<Vec<(String, String, String)>> = from_json("list of steps", text)?;
    steps
        .into_iter()
        .flatten()
        .map(|(name, state, kind)| {
            let state = step_state(state)?;
            let kind =
                StepKind::from_word(&kind).ok_or_else(|| unreadable("kind of a step", kind))?;
            Ok(StoredStep { name, state, kind })
        })
        .collect()
}
