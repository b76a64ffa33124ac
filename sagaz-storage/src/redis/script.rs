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
    OLD = "lua/text.lua" "lua/old.lua";
    PREPARE = "lua/prepare.lua";
}
