use sagaz::{compensate, saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Payment;

#[derive(Clone, Serialize, Deserialize)]
struct Receipt;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self) -> Result<Payment, Error> {
        Ok(Payment)
    }

    #[compensate("charge")]
    async fn refund(&self, charge: Option<&Receipt>) -> Result<(), Error> {
        let _ = charge;
        Ok(())
    }
}

fn main() {}
