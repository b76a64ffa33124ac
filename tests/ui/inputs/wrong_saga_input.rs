use sagaz::{saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Order;

#[derive(Clone, Serialize, Deserialize)]
struct Cart;

struct Shop;

#[saga(input = Order)]
impl Shop {
    #[step(no_compensation)]
    async fn charge(&self, input: &Cart) -> Result<(), Error> {
        let _ = input;
        Ok(())
    }
}

fn main() {}
