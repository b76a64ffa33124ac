use sagaz::{StepError, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn charge(&self, error: &StepError) -> Result<(), Error> {
        let _ = error;
        Ok(())
    }
}

fn main() {}
