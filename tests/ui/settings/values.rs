use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, timeout = "30s", timeout = "1s")]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, timeout = 30)]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, timeout = "30 sec")]
    async fn mail(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, retry(attempts = 0))]
    async fn bill(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on)]
    async fn log(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
