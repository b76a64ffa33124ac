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

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn ship(&self, (a, b): (u8, u8)) -> Result<(), Error> {
        let _ = (a, b);
        Ok(())
    }
}

fn main() {}
