use sagaz::{compensate, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("charge")]
    async fn refund(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["charge"])]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("ship", after = ["charge"])]
    async fn recall(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
