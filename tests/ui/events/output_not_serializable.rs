use sagaz::{StepError, saga, step};

struct Ticket;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, emits = "ticket.reserved", key = "k")]
    async fn reserve(&self) -> Result<Ticket, StepError> {
        Ok(Ticket)
    }
}

fn main() {}
