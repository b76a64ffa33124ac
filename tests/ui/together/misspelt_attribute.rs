use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[stpe(no_compensation)]
    async fn reserve(&self) -> Result<u8, Error> {
        Ok(1)
    }

    #[step(no_compensation, depends_on = [reserve])]
    async fn charge(&self, reserve: &u8) -> Result<u8, Error> {
        Ok(*reserve)
    }
}

fn main() {}
