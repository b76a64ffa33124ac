use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, depends_on = ["ship"])]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = ["charge"])]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
