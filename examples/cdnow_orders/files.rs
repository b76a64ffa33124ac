//! Files of databases, and their folders.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

pub(crate) fn make_folder_of(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .map_err(|error| format!("failed to make the folder {}: {error}", folder.display()))
}

/// With the files that SQLite keeps beside it. Any other file is not deleted, whatever the arguments say.
pub(crate) fn delete_database(path: &Path) -> Result<(), String> {
    check_database(path)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_deleted(path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses what `delete_database` would not delete.
pub(crate) fn check_database(path: &Path) -> Result<(), String> {
    if is_database(path).map_err(|error| not_deleted(path, &error))? {
        return Ok(());
    }
    Err(format!(
        "{} is not deleted: it is no SQLite database",
        path.display()
    ))
}

fn not_deleted(path: &Path, error: &io::Error) -> String {
    format!("failed to delete {}: {error}", path.display())
}

/// Also a missing or an empty file: SQLite takes either for an empty database.
fn is_database(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(16).read_to_end(&mut header)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    Ok(header.is_empty() || header == b"SQLite format 3\0")
}
