use sagaz::{saga, step};
use std::io::Error;

struct Db;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn charge(&self, ctx: &Db) -> Result<(), Error> {
        let _ = ctx;
        Ok(())
    }
}

fn main() {}
