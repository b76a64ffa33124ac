use std::io::Error;

use sagaz::{recover, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation)]
    #[recover("reserve")]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
