use sagaz::{Saga, saga, step};
use std::io::Error;

struct Order;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {
    let _ = sagaz::Saga::run(Order, ());
}
