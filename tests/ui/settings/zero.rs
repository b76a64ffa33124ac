use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga(deadline = "0h")]
impl Shop {
    #[step(timeout = "0s")]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve", timeout = "0ms")]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = [reserve], limit = 0)]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
