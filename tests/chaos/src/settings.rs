//! What a run is told on its command line.

use crate::{conductor::default_folder, place::AnyError};
use std::{path::PathBuf, time::Duration};

/// The stores that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    Postgres,
    Redis,
    Sqlite,
}

/// The brokers that it runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broker {
    Rabbitmq,
    Redis,
    Nats,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    #[arg(long, value_enum, default_value = "postgres")]
    pub(crate) store: Store,
    #[arg(long, value_enum, default_value = "rabbitmq")]
    pub(crate) broker: Broker,
    /// How long faults happen.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Which faults happen when, and what goes wrong in the orders themselves. By default another one each time.
    #[arg(long, default_value_t = fastrand::u64(..))]
    pub(crate) seed: u64,
    /// Worker processes.
    #[arg(long, default_value_t = 4, value_parser = workers)]
    pub(crate) workers: usize,
    /// Orders a second, while clients have time for them.
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How many minutes everything may take to settle when the faults are over.
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    patience: f64,
    /// Where the data of the run goes; below `target/chaos` by default.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A page with the markers between which the report is put, if nothing was found.
    #[arg(long)]
    pub(crate) page: Option<PathBuf>,
    /// The data stays, also if nothing was found.
    #[arg(long)]
    pub(crate) keep: bool,
    /// It ends, without an audit, when its standard input does: so with whoever has started it.
    #[arg(long, hide = true)]
    pub(crate) ends_with_input: bool,
}

impl Settings {
    pub(crate) fn lasting(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience * 60.0)
    }

    pub(crate) fn folder(&self) -> Result<PathBuf, AnyError> {
        let folder = self.folder.clone();
        let folder = folder.unwrap_or_else(|| default_folder(self.seed));
        Ok(std::path::absolute(folder)?)
    }
}

fn workers(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(workers @ 1..=32) => Ok(workers),
        _ => Err("there are 1 to 32 workers".to_owned()),
    }
}

fn minutes(word: &str) -> Result<f64, String> {
    within(word, 0.1, 10_000.0, "minutes")
}

fn rate(word: &str) -> Result<f64, String> {
    within(word, 0.1, 1_000.0, "orders a second")
}

fn within(word: &str, least: f64, most: f64, what: &str) -> Result<f64, String> {
    match word.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{least} to {most} {what} are possible")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn numbers_that_make_no_run_are_refused_in_words() {
        for (flag, number) in [
            ("--rate", "0"),
            ("--rate", "NaN"),
            ("--minutes", "0"),
            ("--minutes", "inf"),
            ("--patience", "1e9"),
            ("--workers", "0"),
        ] {
            let error = Line::try_parse_from(["run", flag, number]).unwrap_err();
            let words = error.to_string();
            assert!(words.contains(flag) && words.contains(" to "), "{words}");
        }
        let line = Line::try_parse_from(["run", "--rate", "0.5", "--minutes", "60"]).unwrap();
        assert_eq!(line.settings.lasting(), Duration::from_hours(1));
    }
}
