use sagaz::{Recover, StepError, recover, saga, step};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Ticket {
    seat: Option<u32>,
}

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(forever), emits = "ticket.reserved", key = output.seat)]
    async fn reserve(&self) -> Result<Ticket, StepError> {
        Ok(Ticket { seat: None })
    }

    #[step(depends_on = [reserve], retry(forever), emits = "ticket.sent", key = output)]
    async fn send(&self) -> Result<Ticket, StepError> {
        Ok(Ticket { seat: None })
    }

    #[recover("send")]
    async fn give_up(&self) -> Recover<Ticket> {
        Recover::Stuck
    }
}

fn main() {}
