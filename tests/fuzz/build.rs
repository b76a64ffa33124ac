//! Tells the compiler of the flag that `cargo xtask fuzz` sets.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(guided)");
    println!("cargo::rerun-if-changed=build.rs");
}
