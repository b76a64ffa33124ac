use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(pivot)]
    async fn book(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
