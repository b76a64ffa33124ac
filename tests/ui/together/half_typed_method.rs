use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self, order) -> Result<u8, Error> {
        Ok(1)
    }

    #[step(no_compensation, depends_on = [reserve])]
    async fn charge(&self, reserve: &u8) -> Result<(), Error> {
        let _ = reserve;
        Ok(())
    }
}

async fn elsewhere() {
    let _ = Shop.charge(&1).await;
}

fn main() {}
