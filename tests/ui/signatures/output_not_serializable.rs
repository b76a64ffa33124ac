use sagaz::{Saga, saga, step};
use std::io::Error;

struct Ticket;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Ticket, Error> {
        Ok(Ticket)
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
