use std::io::Error;

use sagaz::{Recover, recover, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(attempts = 3))]
    async fn book(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = [book], retry(attempts = 3))]
    async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("confirm")]
    async fn by_mail(&self) -> Recover<()> {
        Recover::Stuck
    }

    #[recover("confirm")]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Stuck
    }
}

fn main() {}
