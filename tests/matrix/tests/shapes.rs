//! The promises, on graphs of every shape with every strategy and on the orders of the example, under every fault and a few triples. All
//! pairs are made by an optimized build: `cargo xtask test` does that before it hunts mutants, and `cargo xtask matrix all` by command.

use sagaz_matrix::{Extent, SHAPES, Shape};

#[track_caller]
fn kept(name: &str, extent: Extent) {
    let shape = Shape::named(name).unwrap_or_else(|| panic!("there is no shape `{name}`"));
    if let Err(violation) = shape.run(extent) {
        panic!("{violation}");
    }
}

#[test]
fn every_fault_on_every_shape() {
    for shape in SHAPES {
        kept(shape.name, Extent::SINGLES);
    }
}

#[test]
fn a_few_triples_on_every_shape() {
    for shape in SHAPES {
        let extent = Extent {
            triples: 10,
            ..Extent::SINGLES
        };
        kept(shape.name, extent);
    }
}

/// What the README says of it.
#[test]
fn the_saga_of_the_example_has_as_many_points_as_the_readme_says() {
    let report = Shape::named("orders")
        .unwrap()
        .run(Extent::SINGLES)
        .unwrap();
    let pairs = report.all_pairs;
    let said = format!(
        "{} points, {} faults and {},{:03} pairs",
        report.points(),
        report.singles,
        pairs / 1_000,
        pairs % 1_000
    );
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&said), "the README does not say: {said}");
}
