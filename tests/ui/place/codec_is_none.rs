use std::io::Error;

use sagaz::{saga, step};

struct Text;

struct Shop;

#[saga(codec = Text)]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<u8, Error> {
        Ok(1)
    }
}

fn main() {}
