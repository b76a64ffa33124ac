use std::io::Error;

use sagaz::{Recover, compensate, recover, saga, step};

struct Shop;

#[saga(nam = "shop")]
impl Shop {
    #[step()]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve", atomic)]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = [reserve], pivot, retry(times = 3))]
    async fn book(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = [book], retry(forever))]
    async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("confirm", retry(forever))]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Stuck
    }
}

fn main() {}
