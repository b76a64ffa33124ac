//! Servers that benchmarks run on.

use std::env;

/// The URL of a server, by the variable that tests know it by. Without one its rows are left out, loudly.
pub(crate) fn url(variable: &str) -> Option<String> {
    let url = env::var(variable).ok();
    if url.is_none() {
        eprintln!("SKIPPED: {variable} names no server; `cargo xtask services up` starts one");
    }
    url
}
