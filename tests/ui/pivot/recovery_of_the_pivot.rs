use std::io::Error;

use sagaz::{Recover, recover, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(attempts = 3))]
    async fn book(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("book")]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Stuck
    }
}

fn main() {}
