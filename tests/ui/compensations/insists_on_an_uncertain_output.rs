use sagaz::{Saga, compensate, saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Payment;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self) -> Result<Payment, Error> {
        Ok(Payment)
    }

    #[compensate("charge")]
    async fn refund(&self, charge: &Payment) -> Result<(), Error> {
        let _ = charge;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
