//! A small service for tests: it writes down every effect that it has.
//!
//! Invariant: an effect is in the ledger if and only if it happened, whether its caller heard of it or not; and a process can die
//! right before it.

use crate::simulation::{Simulation, checkpoint};
use sagaz_core::{IntoStepError, StepError};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What fake services have done: a list of effects, in their order. A clone is the same ledger.
///
/// What a real service does with an idempotency key is the caller's choice here: [`once`](Self::once) does the same thing once, as a
/// service that honours the key; [`effect`](Self::effect) does it again with every call, as one that does not.
///
/// ```
/// use sagaz_testing::Ledger;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ledger = Ledger::default();
/// assert!(ledger.once("payments", "charge", "order-17", 300).await?);
/// assert!(!ledger.once("payments", "charge", "order-17", 300).await?, "a repeated request");
/// assert!(ledger.undo("payments", "charge", "order-17").await);
/// assert_eq!(ledger.balance("payments"), 0);
/// # Ok::<(), sagaz_testing::TakenBack>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    effects: Vec<Effect>,
    /// Taken back before they came, or after.
    undone: BTreeSet<(String, String, String)>,
}

/// Something was taken back before it came: a service that has heard of a refund does not charge any more. As the error of a step it
/// is permanent.
#[derive(Debug)]
pub struct TakenBack(());

impl fmt::Display for TakenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was taken back before it came")
    }
}

impl std::error::Error for TakenBack {}

impl IntoStepError for TakenBack {
    fn into_step_error(self) -> StepError {
        StepError::permanent(self)
    }
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effect {
    /// Who had it.
    pub service: String,
    /// What was done.
    pub action: String,
    /// Under which key.
    pub key: String,
    /// How much: what is taken back has the same amount with the other sign.
    pub amount: i64,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an effect, whatever was done under this key before.
    pub async fn effect(&self, service: &str, action: &str, key: &str, amount: i64) {
        checkpoint(&format!("{service}: {action}")).await;
        self.add(service, action, key, amount);
    }

    /// Has an effect, unless it was had under this key before: gives whether it was had by this call. What was taken back before
    /// it came is refused.
    pub async fn once(
        &self,
        service: &str,
        action: &str,
        key: &str,
        amount: i64,
    ) -> Result<bool, TakenBack> {
        checkpoint(&format!("{service}: {action}")).await;
        let names = (service.to_owned(), action.to_owned(), key.to_owned());
        if self.entries().undone.contains(&names) {
            tell(&format!(
                "{service}: {action} is refused, it was taken back"
            ));
            return Err(TakenBack(()));
        }
        if self.entries().has(service, action, key) {
            tell(&format!(
                "{service}: {action} was done already under this key"
            ));
            return Ok(false);
        }
        self.add(service, action, key, amount);
        Ok(true)
    }

    /// Takes back what [`once`](Self::once) did under this key, and keeps it from being done later. Gives whether there was something
    /// to take back.
    pub async fn undo(&self, service: &str, action: &str, key: &str) -> bool {
        checkpoint(&format!("{service}: undo of {action}")).await;
        let taken_back = {
            let mut entries = self.entries();
            let names = (service.to_owned(), action.to_owned(), key.to_owned());
            let is_new = entries.undone.insert(names);
            let done = entries.amount(service, action, key);
            done.filter(|_| is_new)
        };
        match taken_back {
            Some(amount) => self.add(service, &format!("undo of {action}"), key, -amount),
            None => tell(&format!("{service}: nothing to undo of {action}")),
        }
        taken_back.is_some()
    }

    fn add(&self, service: &str, action: &str, key: &str, amount: i64) {
        tell(&format!("{service}: {action} {amount:+}"));
        self.entries().effects.push(Effect {
            service: service.to_owned(),
            action: action.to_owned(),
            key: key.to_owned(),
            amount,
        });
    }

    /// All effects, in their order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.entries().effects.clone()
    }

    /// The effects of this action, in their order.
    #[must_use]
    pub fn of(&self, service: &str, action: &str) -> Vec<Effect> {
        let effects = self.effects().into_iter();
        effects
            .filter(|it| it.service == service && it.action == action)
            .collect()
    }

    /// The sum of all amounts of a service.
    #[must_use]
    pub fn balance(&self, service: &str) -> i64 {
        let entries = self.entries();
        let own = entries.effects.iter().filter(|it| it.service == service);
        own.map(|it| it.amount).sum()
    }

    /// Whether what was done under each key of this action was done once at most.
    #[must_use]
    pub fn is_once(&self, service: &str, action: &str) -> bool {
        let of = self.of(service, action);
        let keys: BTreeSet<_> = of.iter().map(|it| &it.key).collect();
        keys.len() == of.len()
    }
}

impl Entries {
    fn has(&self, service: &str, action: &str, key: &str) -> bool {
        self.amount(service, action, key).is_some()
    }

    fn amount(&self, service: &str, action: &str, key: &str) -> Option<i64> {
        let mut effects = self.effects.iter();
        let found =
            effects.find(|it| it.service == service && it.action == action && it.key == key);
        found.map(|it| it.amount)
    }
}

fn tell(what: &str) {
    if let Some(simulation) = Simulation::current() {
        simulation.tell_effect(what);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.effects()).finish()
    }
}
