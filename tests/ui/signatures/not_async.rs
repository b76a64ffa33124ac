use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
