use std::io::Error;

use sagaz::{compensate, saga, step};

struct Shop;

#[saga(input = String, version = two)]
impl Shop {
    #[step(timout = "1s")]
    async fn reserve(&self, ordr: &String) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve", after = [ship])]
    async fn release(&mut self, reserve: &()) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["reserv", "reserve"], no_compensation, pivot)]
    fn charge(&self, ctx: &StepContext) -> Result<&str, Error> {
        Ok("")
    }

    #[step(depends_on = ["charge"])]
    async fn ship(&self) {}
}

fn main() {}
