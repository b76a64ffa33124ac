//! What the checker is started on.

use Finds::{Mutations, Sights};

/// One start of the checker.
pub(super) struct Search {
    /// The module, and the file of its configuration in `model/`.
    pub(super) module: &'static str,
    pub(super) config: &'static str,
    pub(super) finds: Finds,
}

pub(super) enum Finds {
    /// All promises hold, and these states are there.
    Sights(&'static [&'static str]),
    /// Each of the mutations of the configuration breaks the promises that `docs/model.md` says.
    Mutations,
}

const fn search(module: &'static str, config: &'static str, finds: Finds) -> Search {
    Search {
        module,
        config,
        finds,
    }
}

/// Those of CI, and those by command.
pub(super) fn all() -> impl Iterator<Item = &'static Search> {
    SEARCHES.iter().chain(DEEP)
}

/// What is searched in CI.
pub(super) const SEARCHES: &[Search] = &[
    search(
        "Instance",
        "chain",
        Sights(&[
            "completed",
            "rolled back",
            "stuck",
            "taken over while compensating",
            "over, and an attempt is still on its way",
            "undone after an effect that nobody saw",
            "a late try of a former owner",
        ]),
    ),
    search(
        "Instance",
        "pivot",
        Sights(&[
            "completed",
            "rolled back after an effect",
            "cancelled",
            "a cancel waits for the pivot",
            "stuck with the pivot in doubt",
            "beyond the pivot",
            "finished by a second owner",
        ]),
    ),
    search(
        "Instance",
        "pivot_late",
        Sights(&[
            "a late try of a former owner",
            "a late try of what is stored",
        ]),
    ),
    search(
        "Instance",
        "operator",
        Sights(&[
            "stuck",
            "poison",
            "completed by an operator's decision",
            "rolled back by an operator's decision",
        ]),
    ),
    search(
        "Instance",
        "release",
        Sights(&[
            "given up, to be taken again",
            "given up with a step in doubt",
            "finished by a second owner",
        ]),
    ),
    search(
        "Instance",
        "wide",
        Sights(&[
            "two processes with an attempt of one step",
            "a former owner's write is refused",
        ]),
    ),
    search("Instance", "mutants_chain", Mutations),
    search("Instance", "mutants_fork", Mutations),
    search("Instance", "mutants_pivot", Mutations),
    search("Instance", "mutants_late", Mutations),
    search(
        "Outbox",
        "sender",
        Sights(&[
            "all sent",
            "sent at once",
            "left by the sender",
            "sent by a second owner",
            "a late mark",
        ]),
    ),
    search(
        "Outbox",
        "dead",
        Sights(&[
            "dead",
            "sent after one that is dead",
            "sent by a second owner",
            "sent again by a second owner",
            "on its way, and its worker is gone",
        ]),
    ),
    search(
        "Outbox",
        "keys",
        Sights(&["all sent", "a place that becomes visible late"]),
    ),
    search("Outbox", "mutants_outbox", Mutations),
    search("Outbox", "mutants_keys", Mutations),
    search(
        "Barrier",
        "barrier",
        Sights(&[
            "done and undone",
            "a null compensation",
            "a hanging action is refused",
            "an action is refused after its undo",
            "a repeated action",
            "a repeated compensation",
            "done after a rollback",
            "undone after a rollback",
        ]),
    ),
    search("Barrier", "mutants_barrier", Mutations),
    search(
        "Start",
        "start",
        Sights(&["another's", "a conflict", "the key once more"]),
    ),
    search("Start", "mutants_start", Mutations),
    search(
        "Inbox",
        "inbox",
        Sights(&[
            "handled by two at once",
            "somebody was faster",
            "handled, and the broker was not told",
            "all done with",
        ]),
    ),
    search("Inbox", "mutants_inbox", Mutations),
];

/// What takes too long for CI, and is searched by command.
pub(super) const DEEP: &[Search] = &[
    search(
        "Instance",
        "fork",
        Sights(&[
            "completed",
            "rolled back after an effect",
            "in flight at the failure",
            "a write that tells of two steps",
            "finished by a second owner",
        ]),
    ),
    search(
        "Instance",
        "fork_fail_fast",
        Sights(&[
            "rolled back after an effect",
            "in doubt at the failure, and on its way",
        ]),
    ),
    search(
        "Instance",
        "fork_wait_all",
        Sights(&[
            "rolled back after an effect",
            "in flight at the failure",
            "begun after the failure",
        ]),
    ),
    search(
        "Instance",
        "deep_insisting",
        Sights(&[
            "rolled back after an effect",
            "an attempt repeated to settle an outcome",
        ]),
    ),
    search(
        "Instance",
        "deep_after",
        Sights(&[
            "rolled back after an effect",
            "an undo that waits for another",
        ]),
    ),
    search(
        "Instance",
        "deep_wide",
        Sights(&[
            "rolled back after an effect",
            "two processes with an attempt of one step",
            "a former owner's write is refused",
        ]),
    ),
    search(
        "Instance",
        "deep_owners",
        Sights(&[
            "poison",
            "a late try of a former owner",
            "given up, to be taken again",
            "finished by a second owner",
        ]),
    ),
    search(
        "Instance",
        "deep_pivot",
        Sights(&[
            "beyond the pivot",
            "a cancel waits for the pivot",
            "stuck with the pivot in doubt",
            "a late try of what is stored",
            "two processes with an attempt of one step",
            "rolled back by an operator's decision",
        ]),
    ),
    search(
        "Instance",
        "deep_diamond",
        Sights(&[
            "completed",
            "rolled back after an effect",
            "in flight at the failure",
            "undone after an effect that nobody saw",
        ]),
    ),
    search(
        "Outbox",
        "deep_block",
        Sights(&[
            "blocking",
            "one waits behind one that blocks",
            "sent at once",
            "sent by a second owner",
        ]),
    ),
    search(
        "Outbox",
        "deep_outbox",
        Sights(&[
            "all sent",
            "sent at once",
            "left by the sender",
            "sent after one that is dead",
            "a place that becomes visible late",
            "sent by a second owner",
        ]),
    ),
];
