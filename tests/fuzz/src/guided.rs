//! The coverage-guided run: libFuzzer around the target that `SAGAZ_FUZZ_TARGET` names. `cargo xtask fuzz` builds and starts it.
#![cfg_attr(guided, no_main)]

#[cfg(guided)]
libfuzzer_sys::fuzz_target!(
    // A panic that the code catches is none of ours; what a target lets through ends the process all the same.
    init: drop(std::panic::take_hook()),
    |input: &[u8]| sagaz_fuzz::chosen()(input)
);

#[cfg(not(guided))]
fn main() -> std::process::ExitCode {
    eprintln!("this was not built for a fuzzer; run `cargo xtask fuzz`");
    std::process::ExitCode::from(2)
}
