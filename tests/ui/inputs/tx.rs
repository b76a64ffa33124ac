use sagaz::{saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn charge(&self, tx: &mut u8) -> Result<(), Error> {
        let _ = tx;
        Ok(())
    }
}

fn main() {}
