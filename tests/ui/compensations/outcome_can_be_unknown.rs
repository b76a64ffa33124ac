use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step()]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
