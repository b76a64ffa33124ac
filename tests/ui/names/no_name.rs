use std::io::Error;

use sagaz::{Recover, compensate, recover, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step()]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate()]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = [reserve], pivot, retry(attempts = 3))]
    async fn book(&self, #[from] _held: &()) -> Result<(), Error> {
        Ok(())
    }

    #[recover]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Stuck
    }
}

fn main() {}
