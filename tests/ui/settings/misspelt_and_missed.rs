use std::io::Error;

use sagaz::{saga, step};

struct Shop;

/// What was meant is not missed as well.
#[saga]
impl Shop {
    #[step(no_compensaton)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(requires = [reserve], pivott, retries = 5)]
    async fn charge(&self, reserve: &()) -> Result<(), Error> {
        Ok(*reserve)
    }

    #[step(depends_on = [charge], retry = 5)]
    async fn ship(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
