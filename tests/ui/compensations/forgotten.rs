use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(atomic)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["reserve"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
