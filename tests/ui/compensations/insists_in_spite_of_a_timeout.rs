use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(timeout = "30s")]
    async fn charge(&self) -> Result<u64, Error> {
        Ok(1)
    }

    #[compensate("charge")]
    async fn refund(&self, charge: u64) -> Result<(), Error> {
        let _ = charge;
        Ok(())
    }
}

fn main() {}
