use sagaz::{Saga, saga};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
