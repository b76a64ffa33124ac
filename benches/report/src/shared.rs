//! Tests of what the benchmarks and the report share. They are here because a benchmark has no test harness.

use crate::{
    figure::{Figure, Floor, Spread},
    number::{count, number},
};

#[test]
fn a_ratio_is_that_of_its_round() {
    // A round in which the machine was slow is slow on both sides.
    let floor = Floor {
        name: "raw".to_owned(),
        rounds: vec![10.0, 1_000.0, 20.0],
        wanted: Some(0.5),
    };
    let figure = Figure {
        table: "speed".to_owned(),
        case: "alone".to_owned(),
        in_flight: None,
        unit: "instances/s".to_owned(),
        more_is_better: true,
        rounds: vec![5.0, 400.0, 16.0],
        floors: Vec::new(),
    };
    let spread = Spread {
        median: 0.5,
        lowest: 0.4,
        highest: 0.8,
    };
    assert_eq!(figure.ratio(&floor), spread);
    assert!(figure.meets(&floor));
    let figure = Figure {
        more_is_better: false,
        rounds: vec![6.0, 400.0, 16.0],
        ..figure
    };
    assert!(!figure.meets(&floor), "a cost is to be at most that");
}

#[test]
fn three_digits_are_told() {
    let told = [
        (1_234_567.0, "1,230,000"),
        (4_711.0, "4,710"),
        (999.4, "999"),
        (12.345, "12.3"),
        (0.456, "0.46"),
        (0.001, "0"),
        (-12_345.0, "-12,300"),
        (f64::NAN, "-"),
    ];
    for (value, text) in told {
        assert_eq!(number(value), text);
    }
}

#[test]
fn counts_are_told_in_full() {
    let told = [(0, "0"), (999, "999"), (1_234_567, "1,234,567")];
    for (value, text) in told {
        assert_eq!(count(value), text);
    }
}
