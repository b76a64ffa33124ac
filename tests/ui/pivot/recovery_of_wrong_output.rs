use sagaz::{Recover, StepError, Saga, recover, saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Receipt;

#[derive(Clone, Serialize, Deserialize)]
struct Ticket;

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(forever))]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["charge"], retry(attempts = 3))]
    async fn confirm(&self) -> Result<Receipt, Error> {
        Ok(Receipt)
    }

    #[recover("confirm")]
    async fn give_up(&self, error: &StepError) -> Recover<Ticket> {
        let _ = error;
        Recover::Use(Ticket)
    }
}

fn main() {
    let _ = Shop.run(());
}
