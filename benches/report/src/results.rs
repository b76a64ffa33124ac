//! What the benchmarks have written: a file of JSON lines for each table.

use crate::figure::Figure;
use std::{collections::BTreeMap, fs, path::Path};

/// By table, in the order of measuring.
pub(crate) type Figures = BTreeMap<String, Vec<Figure>>;

pub(crate) fn read(folder: &Path) -> Result<Figures, String> {
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut figures = Figures::new();
    for entry in fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let path = entry.map_err(|error| at(folder, &error))?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
        for line in text.lines() {
            let figure: Figure = serde_json::from_str(line).map_err(|error| at(&path, &error))?;
            figures
                .entry(figure.table.clone())
                .or_default()
                .push(figure);
        }
    }
    Ok(figures)
}
