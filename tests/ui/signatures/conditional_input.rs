use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self, #[cfg(unix)] input: &()) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
