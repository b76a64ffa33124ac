use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<&str, Error> {
        Ok("hold")
    }
}

fn main() {}
