use sagaz::{Saga, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn charge(&self) -> Result<(), Error> {
        let hold = self.;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
