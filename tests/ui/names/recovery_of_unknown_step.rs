use sagaz::{Recover, StepError, recover, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(forever))]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    #[step(depends_on = ["charge"], retry(attempts = 3))]
    async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }

    #[recover("conform")]
    async fn give_up(&self, error: &StepError) -> Recover<()> {
        let _ = error;
        Recover::Stuck
    }
}

fn main() {}
