use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga(input = 5)]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self, order: &u8) -> Result<u8, Error> {
        Ok(*order)
    }

    #[step(no_compensation, depends_on = [1, "resrve"])]
    async fn charge(&self, order: &u8, reserve: &u8) -> Result<u8, Error> {
        Ok(order + reserve)
    }

    #[step(no_compensation, depends_on("charge"))]
    async fn ship(&self, charge: &u8) -> Result<u8, Error> {
        Ok(*charge)
    }
}

fn main() {}
