//! A node of RabbitMQ whose name, cookie and port mapper are its own, so that it stands beside any other. Whoever starts one includes
//! this file, so it has the standard library alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) struct Node<'f> {
    /// All that it writes is in there.
    pub(crate) folder: &'f Path,
    pub(crate) port: u16,
    /// The ports of its distribution and of its port mapper.
    pub(crate) others: [u16; 2],
}

impl Node<'_> {
    /// Puts its settings into its folder; `more`: lines beside those of every one.
    pub(crate) fn write_settings(&self, more: &str) -> io::Result<()> {
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\ndisk_free_limit.absolute = 50MB\n{more}",
            self.port
        );
        for (name, text) in [
            ("rabbitmq.conf", settings.as_str()),
            ("rabbitmq-env.conf", ""),
            ("enabled_plugins", "[]."),
        ] {
            fs::write(self.folder.join(name), text)?;
        }
        Ok(())
    }

    /// Tells a script everything that it would otherwise share with others.
    pub(crate) fn set_environment(&self, command: &mut Command) {
        for (variable, path) in [
            ("HOME", ""),
            ("RABBITMQ_BASE", ""),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "logs"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced"),
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "config"),
        ] {
            command.env(variable, self.folder.join(path));
        }
        let [distribution, mapper] = self.others;
        command
            .env("RABBITMQ_NODENAME", format!("sagaz{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // It may be ended before it has noticed that its node was killed.
            .env("ERL_EPMD_RELAXED_COMMAND_CHECK", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
    }
}

/// Where the package puts the script itself. That of this name in the path is another one, which Debian lets change to a user of its own
/// and write to `/var`.
pub(crate) fn packaged(name: &str) -> Option<PathBuf> {
    fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("sbin").join(name)))
        .find(|path| path.exists())
}
