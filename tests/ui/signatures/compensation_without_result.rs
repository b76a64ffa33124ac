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
    async fn release(&self) -> bool {
        true
    }
}

fn main() {}
