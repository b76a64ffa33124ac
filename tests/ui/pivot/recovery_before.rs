use sagaz::{Recover, StepError, recover, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(pivot, retry(attempts = 3), depends_on = ["reserve"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("reserve")]
    async fn give_up(&self, error: &StepError) -> Recover<()> {
        let _ = error;
        Recover::Stuck
    }
}

fn main() {}
