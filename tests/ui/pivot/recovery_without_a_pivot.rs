use std::io::Error;

use sagaz::{Recover, recover, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn book(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("book")]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Stuck
    }
}

fn main() {}
