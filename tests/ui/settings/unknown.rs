use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, timout = "1s")]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
