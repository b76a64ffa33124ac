use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step()]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve", after = ["reserve", charge, charge, mail])]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step()]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate(charge)]
    async fn refund(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation)]
    async fn mail(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
