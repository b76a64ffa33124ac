use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, depends_on = [ship])]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate(reserve)]
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = [reserve], pivot, retry(forever))]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(pivot, retry(forever))]
    async fn ctx(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
