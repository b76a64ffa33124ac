use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async unsafe fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
