use sagaz::{compensate, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve")]
    #[step]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
