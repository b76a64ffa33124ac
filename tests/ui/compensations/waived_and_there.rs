use sagaz::{compensate, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("validate")]
    async fn invalidate(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
