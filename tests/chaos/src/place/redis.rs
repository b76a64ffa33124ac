//! The keys of a Redis server that begin with a word.

use super::{AnyError, Consumed, Place};
use crate::sagas::Told;
use sagaz::{Event, outbox::HandlerError, redis::Redis, store::InboxStore};

const PREFIX: &str = "sagaz";

/// The list that the consumer writes to, one in each partition.
const CONSUMED: &str = "consumed";

#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) url: String,
}

impl Place for Prefix {
    type Store = Redis;

    async fn open(&self) -> Result<Redis, AnyError> {
        let options = Redis::options(&self.url)?.prefix(PREFIX);
        Ok(options.require_durable(true).connect().await?)
    }

    async fn consume(
        &self,
        event: &Event,
        tx: &mut <Redis as InboxStore>::Tx,
    ) -> Result<(), HandlerError> {
        let told: Told = event.decode()?;
        tx.rpush(CONSUMED, format!("{} {}", told.serial, event.event_id()));
        Ok(())
    }

    async fn consumed(&self) -> Result<Vec<Consumed>, AnyError> {
        let client = redis::Client::open(self.url.as_str())?;
        let patience = Some(std::time::Duration::from_secs(30));
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(patience)
            .set_response_timeout(patience);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut consumed = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("*:data:{CONSUMED}"))
                .arg("COUNT")
                .arg(10_000)
                .query_async(&mut connection)
                .await?;
            for key in keys {
                let list: Vec<String> = redis::cmd("LRANGE")
                    .arg(&key)
                    .arg(0)
                    .arg(-1)
                    .query_async(&mut connection)
                    .await?;
                for line in list {
                    let (serial, event) = line.split_once(' ').ok_or("a line without a space")?;
                    consumed.push(Consumed {
                        event: event.to_owned(),
                        serial: serial.parse()?,
                    });
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(consumed);
            }
        }
    }
}
