use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> impl Send {
        Ok::<(), Error>(())
    }

    #[step(no_compensation)]
    async fn charge(&self) -> Result<impl Send, Error> {
        Ok(())
    }
}

fn main() {}
