use sagaz::{saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Serialize, Deserialize)]
struct Ticket(#[serde(skip, default = "std::ptr::null")] *const u8);

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Ticket, Error> {
        Ok(Ticket(std::ptr::null()))
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self, reserve: &Ticket) -> Result<(), Error> {
        let _ = reserve;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
