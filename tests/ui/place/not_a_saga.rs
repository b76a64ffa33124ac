use sagaz::{saga, step};
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
    sagas::<Order>();
}

fn sagas<G: sagaz::Saga>() {}
