//! Where the sagas are stored: what `--store` says.
//!
//! There is no type for a store of any kind. A place is one of a few, and `main.rs` calls one generic function with the store of
//! each.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::{path::PathBuf, str::FromStr};

/// The store if nothing else is said.
pub(crate) const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/cdnow/orders.db");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Server),
    #[cfg(feature = "redis")]
    Redis(redis::Server),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A single letter before a colon is a drive.
        let scheme = text.split_once(':').filter(|(scheme, _)| scheme.len() > 1);
        match scheme {
            Some(("sqlite", file)) => sqlite(file.strip_prefix("//").unwrap_or(file)),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => text.parse().map(Self::Postgres),
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => Err(missing("postgres")),
            #[cfg(feature = "redis")]
            Some(("redis" | "rediss" | "redis+cluster" | "rediss+cluster", _)) => {
                text.parse().map(Self::Redis)
            }
            #[cfg(not(feature = "redis"))]
            Some(("redis" | "rediss" | "redis+cluster" | "rediss+cluster", _)) => {
                Err(missing("redis"))
            }
            Some((scheme, _)) if is_scheme(scheme) => Err(format!(
                "there is no store on `{scheme}`; write `sqlite:FILE`, `postgres://..` or `redis://..`"
            )),
            _ => sqlite(text),
        }
    }
}

fn sqlite(file: &str) -> Result<Place, String> {
    if file.is_empty() {
        return Err("there is no file's name in it".to_owned());
    }
    if file.starts_with(":memory:") || file.contains('?') {
        return Err(
            "write only the name of a file, without parameters: a store in memory would not outlive this process"
                .to_owned(),
        );
    }
    Ok(Place::Sqlite(file.into()))
}

#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn missing(feature: &str) -> String {
    format!(
        "this program was built without the feature `{feature}`; add it: \
         `cargo run --release --features sqlite,{feature} --example cdnow_orders -- --store ..`"
    )
}

fn is_scheme(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

impl Place {
    /// The file of the books that belong to this store, if no other is named.
    pub(crate) fn books(&self) -> PathBuf {
        match self {
            Self::Sqlite(file) => file.with_extension("books.db"),
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => books_of(&server.file_stem()),
            #[cfg(feature = "redis")]
            Self::Redis(server) => books_of(&server.file_stem()),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
fn books_of(server: &str) -> PathBuf {
    PathBuf::from(DEFAULT).with_file_name(format!("{server}.books.db"))
}

#[cfg(any(feature = "postgres", feature = "redis"))]
fn file_name(text: &str) -> String {
    let is_odd = |letter: char| !letter.is_ascii_alphanumeric() && !"-._".contains(letter);
    text.replace(is_odd, "-")
}

/// An error on one line, with its cause.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_path_or_a_url() {
        for text in ["a/b.db", "sqlite:a/b.db", "sqlite://a/b.db"] {
            assert_eq!(text.parse(), Ok(Place::Sqlite("a/b.db".into())), "{text}");
        }
        assert_eq!(
            "sqlite:///tmp/b.db".parse(),
            Ok(Place::Sqlite("/tmp/b.db".into()))
        );
        assert_eq!(
            "C:\\b.db".parse(),
            Ok(Place::Sqlite("C:\\b.db".into())),
            "a drive is no scheme"
        );
    }

    #[test]
    fn what_names_no_store_is_refused() {
        for text in [
            "",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite:a.db?mode=ro",
            "mysql://localhost/shop",
            "redis:shop",
            "postgres:shop",
            "postgres://localhost:port/shop",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn the_books_of_two_databases_are_two_files_without_a_password() {
        let books = |url: &str| url.parse::<Place>().unwrap().books();
        let one = books("postgres://ann:secret@db.example.com:5433/shop");
        assert_eq!(
            one.file_name().unwrap(),
            "postgres-db.example.com-5433-shop.books.db"
        );
        assert_ne!(one, books("postgres://ann@db.example.com:5433/other"));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn the_books_of_two_redis_servers_are_two_files_without_a_password() {
        let books = |url: &str| url.parse::<Place>().unwrap().books();
        let one = books("rediss://ann:secret@redis.example.com:6380/2");
        assert_eq!(
            one.file_name().unwrap(),
            "redis-redis.example.com-6380-2.books.db"
        );
        assert_ne!(one, books("redis://redis.example.com:6380/3"));
    }
}
