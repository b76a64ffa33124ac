//! The scripts: each is one atomic step on one slot.

use redis::Script as Source;
use std::sync::LazyLock;

/// A script with its digest, by which the server knows it once it has seen it.
pub(super) struct Script {
    pub(super) text: &'static str,
    source: LazyLock<Source>,
}

impl Script {
    pub(super) fn hash(&self) -> &str {
        self.source.get_hash()
    }
}

/// A script of its own file, after the prelude.
macro_rules! scripts {
    ($($(#[$what:meta])* $name:ident = $($file:literal)+;)+) => {
        $(
            $(#[$what])*
            pub(super) static $name: Script = Script {
                text: concat!(include_str!("lua/prelude.lua"), $("\n", include_str!($file),)+),
                source: LazyLock::new(|| Source::new($name.text)),
            };
        )+
    };
}

scripts! {
    ACCEPT = "lua/accept.lua";
    PROGRESS = "lua/progress.lua";
    OPERATE = "lua/text.lua" "lua/instance.lua" "lua/operate.lua";
    CANCEL = "lua/text.lua" "lua/instance.lua" "lua/cancel.lua";
    TAKE = "lua/text.lua" "lua/instance.lua" "lua/take.lua";
    ASIDE = "lua/text.lua" "lua/instance.lua" "lua/aside.lua";
    PRUNE = "lua/text.lua" "lua/instance.lua" "lua/prune.lua";
    CANDIDATES = "lua/candidates.lua";
    LOOK = "lua/text.lua" "lua/look.lua";
    ALIVE = "lua/alive.lua";
    BURY = "lua/bury.lua";
    RENEW = "lua/text.lua" "lua/renew.lua";
    RETIRE = "lua/retire.lua";
    LOAD = "lua/load.lua";
    STEPS = "lua/steps.lua";
    IDS = "lua/ids.lua";
    NOW = "lua/now.lua";
    COUNT = "lua/count.lua";
    BACKLOG = "lua/text.lua" "lua/backlog.lua";
    OLD = "lua/text.lua" "lua/old.lua";
    PREPARE = "lua/prepare.lua";
    /// Progress with events: one that has none does not pay for the function.
    PUBLISH = "lua/append.lua" "lua/progress.lua";
    ATTEND = "lua/text.lua" "lua/attend.lua";
    INSTALL = "lua/install.lua";
    VACATE = "lua/vacate.lua";
    RELEASE = "lua/release.lua";
    BEHIND = "lua/behind.lua";
    FETCH = "lua/fetch.lua";
    MARK = "lua/sent.lua" "lua/die.lua" "lua/mark.lua";
    HEADS = "lua/heads.lua";
    SETTLE = "lua/sent.lua" "lua/settle.lua";
    STATS = "lua/text.lua" "lua/stats.lua";
    LETTERS = "lua/letters.lua";
    OPEN = "lua/open.lua";
    DECIDE = "lua/append.lua" "lua/handled.lua" "lua/decide.lua";
    BEGIN = "lua/handled.lua" "lua/begin.lua";
    GIVE_UP = "lua/handled.lua" "lua/die.lua" "lua/give_up.lua";
    COMMIT = "lua/append.lua" "lua/handled.lua" "lua/commit.lua";
    OLD_SENT = "lua/text.lua" "lua/old_sent.lua";
    PRUNE_SENT = "lua/text.lua" "lua/prune_sent.lua";
    OLD_HANDLED = "lua/text.lua" "lua/old_handled.lua";
    PRUNE_HANDLED = "lua/text.lua" "lua/prune_handled.lua";
}
