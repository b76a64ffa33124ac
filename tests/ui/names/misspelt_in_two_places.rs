use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step()]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("resrve")]
    async fn release(&self, resrve: Option<&()>) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = ["reserv"])]
    async fn charge(&self, reserv: &()) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
