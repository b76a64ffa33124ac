//! Every target, on its corpus and on a fixed number of mutants of it.
#![forbid(unsafe_code)]

use sagaz_fuzz::{TARGETS, bounded};
use std::path::Path;

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                bounded(
                    stringify!($name),
                    &Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz"),
                );
            }
        )*

        #[test]
        fn every_target_is_run() {
            let names = TARGETS.map(|target| target.name);
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! { csv_orders durations expand_saga headers rows sqlite_rows urls }
