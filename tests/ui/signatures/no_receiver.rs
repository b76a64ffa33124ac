use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve() -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
