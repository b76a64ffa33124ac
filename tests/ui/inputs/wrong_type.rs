use sagaz::{Saga, saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Hold;

#[derive(Clone, Serialize, Deserialize)]
struct Receipt;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Hold, Error> {
        Ok(Hold)
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self, reserve: &Receipt) -> Result<(), Error> {
        let _ = reserve;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
