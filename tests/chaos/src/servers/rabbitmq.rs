//! RabbitMQ.

#[path = "../../../../sagaz-brokers/tests/support/rabbitmq_node.rs"]
mod node;

use super::{Server, guarded};
use node::Node;
use std::{fs, io};
use tokio::process::Command;

/// The script is a parent of the node, whose id is in a file; the port mapper outlives both, and is of use to the next start.
const END: &str = "kill -9 $(cat \"$RABBITMQ_PID_FILE\") $pid; epmd -port $ERL_EPMD_PORT -kill";

fn node(server: &Server) -> Node<'_> {
    Node {
        folder: &server.folder,
        port: server.port,
        others: server.others,
    }
}

pub(super) fn prepare(server: &Server) -> io::Result<()> {
    node(server).write_settings("vm_memory_high_watermark.absolute = 1GB\n")
}

pub(super) fn command(server: &Server) -> Command {
    let script = "rabbitmq-server";
    let mut command = guarded(END);
    command.arg(node::packaged(script).unwrap_or_else(|| script.into()));
    // The id of a node that was killed is not that of the next.
    let _ = fs::remove_file(server.folder.join("pid"));
    node(server).set_environment(command.as_std_mut());
    command
}
