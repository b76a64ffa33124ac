use sagaz::{saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Order;

#[derive(Clone, Serialize, Deserialize)]
struct Hold;

struct Shop;

#[saga(input = Order)]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Hold, Error> {
        Ok(Hold)
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self, resreve: &Hold) -> Result<(), Error> {
        let _ = resreve;
        Ok(())
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn ship(&self, hold: &Hold) -> Result<(), Error> {
        let _ = hold;
        Ok(())
    }
}

fn main() {}
