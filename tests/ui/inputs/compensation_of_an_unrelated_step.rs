use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step()]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve")]
    async fn release(&self, charge: &()) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation)]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
