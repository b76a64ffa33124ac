use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga(on_failure = grace("10s"))]
impl Shop {
    #[step(atomic)]
    async fn charge(&self) -> Result<u64, Error> {
        Ok(1)
    }

    #[compensate("charge")]
    async fn refund(&self, charge: &u64) -> Result<(), Error> {
        let _ = charge;
        Ok(())
    }
}

fn main() {}
