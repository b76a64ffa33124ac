use sagaz::step;
use std::io::Error;

struct Shop;

impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
