use sagaz::{compensate, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserv")]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(atomic, depends_on = ["reserve"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
