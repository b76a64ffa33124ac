use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga(version = "2", accepts = 1, on_failure = explode)]
impl Shop {
    #[step(no_compensation = true, limit = "20", name = 7)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = [1], timeout = thirty, retry = 5)]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, retry(attempts = "5", factor = 0.5, jitter = 2))]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, retry(forever, attempts = 3))]
    async fn mail(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
