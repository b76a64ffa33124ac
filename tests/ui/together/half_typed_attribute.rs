use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(depends_on = )]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(no_compensation, depends_on = [reserve, ], retry(att))]
    async fn charge(&self) -> Result<(), Error> {
        self.reserve().await
    }

    #[step(no_compensation, tim)]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
