//! A small disk for the store, which can be filled up.
//!
//! It is an ext4 file system in a file, mounted as a loop device, or a file system in memory where there are no loop devices. To mount one
//! has to be root: elsewhere there is no such fault, and the report says so.

use super::run;
use crate::place::AnyError;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};
use tokio::process::Command;

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) folder: PathBuf,
    pub(crate) what: &'static str,
    /// What is on it is gone with the mount.
    in_memory: bool,
}

impl Disk {
    /// Mounts one on a new folder; why not, if not.
    pub(crate) async fn mount(folder: &Path, megabytes: u64) -> Result<Self, AnyError> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount a small disk".into());
        }
        tokio::fs::create_dir_all(folder).await?;
        let image = folder.with_extension("image");
        let made = async {
            // Without content: it takes no more room than what is written to it.
            File::create(&image)?.set_len(megabytes << 20)?;
            let mut make = Command::new("mkfs.ext4");
            run(make.args(["-q", "-m", "0"]).arg(&image)).await?;
            let mut mount = Command::new("mount");
            run(mount.args(["-o", "loop"]).arg(&image).arg(folder)).await
        };
        let in_memory = made.await.is_err();
        let what = if in_memory {
            let size = format!("size={}m", megabytes.min(4_096));
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]);
            run(mount.arg(folder)).await?;
            "a file system in memory"
        } else {
            "an ext4 file system on a loop device"
        };
        Ok(Self {
            folder: folder.to_owned(),
            what,
            in_memory,
        })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all of it, to the last byte.
    pub(crate) async fn fill(&self) -> Result<(), AnyError> {
        let (folder, filler) = (self.folder.clone(), self.filler());
        let free = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(&folder)
            .output()
            .await?;
        let free = String::from_utf8_lossy(&free.stdout);
        let free: u64 = free.lines().last().unwrap_or_default().trim().parse()?;
        // What it promises may be a little more than there is, while others write.
        for share in [free, free / 100 * 99, free / 100 * 95] {
            let mut allocate = Command::new("fallocate");
            allocate.args(["-l", &share.max(1).to_string()]);
            if run(allocate.arg(&filler)).await.is_ok() {
                break;
            }
        }
        self.top_up().await
    }

    /// Takes what has become free meanwhile.
    pub(crate) async fn top_up(&self) -> Result<(), AnyError> {
        let filler = self.filler();
        tokio::task::spawn_blocking(move || -> Result<(), AnyError> {
            let mut file = File::options().create(true).append(true).open(filler)?;
            for size in [1 << 20, 4_096, 1] {
                // Until there is no room.
                while file.write_all(&vec![0; size]).is_ok() {}
            }
            Ok(())
        })
        .await?
    }

    pub(crate) async fn free(&self) -> Result<(), AnyError> {
        Ok(tokio::fs::remove_file(self.filler()).await?)
    }

    /// What is on it is gone, unless it is kept: then it is in the folder, or its file can be mounted again.
    pub(crate) async fn unmount(&self, keep: bool) -> Result<(), AnyError> {
        let kept = self.folder.with_extension("kept");
        if keep && self.in_memory {
            let mut copy = Command::new("cp");
            run(copy.arg("-a").arg(&self.folder).arg(&kept)).await?;
        }
        unmount(&self.folder).await;
        if keep && self.in_memory {
            tokio::fs::remove_dir(&self.folder).await?;
            tokio::fs::rename(&kept, &self.folder).await?;
        }
        if !keep || self.in_memory {
            let _ = tokio::fs::remove_file(self.folder.with_extension("image")).await;
        }
        Ok(())
    }
}

/// At once, or as soon as those have ended who have files there.
async fn unmount(folder: &Path) {
    for option in [&[][..], &["-l"]] {
        let mut umount = Command::new("umount");
        if run(umount.args(option).arg(folder)).await.is_ok() {
            return;
        }
    }
}

/// Unmounts what runs have left that were killed. The folder of a run ends with the id of its process.
pub(crate) async fn sweep(runs: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let folder = Path::new(line.split(' ').nth(1).unwrap_or_default());
        let Ok(within) = folder.strip_prefix(runs) else {
            continue;
        };
        let run = within.to_str().and_then(|path| path.split('/').next());
        let process = run.and_then(|run| run.rsplit('-').next());
        let is_over = process.is_some_and(|id| !Path::new("/proc").join(id).exists());
        if is_over {
            unmount(folder).await;
        }
    }
}
