use sagaz::{compensate, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(pivot, retry(attempts = 3), depends_on = ["reserve"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["charge"], retry(forever))]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("ship")]
    async fn recall(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
