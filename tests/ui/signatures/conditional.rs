use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[cfg(unix)]
    #[step(no_compensation)]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
