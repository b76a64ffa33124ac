use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve<T: Send>(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
