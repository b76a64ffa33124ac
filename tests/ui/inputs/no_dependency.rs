use sagaz::{saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Hold;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Hold, Error> {
        Ok(Hold)
    }

    #[step(no_compensation)]
    async fn charge(&self, reserve: &Hold) -> Result<(), Error> {
        let _ = reserve;
        Ok(())
    }
}

fn main() {}
