use sagaz::{StepError, compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(key = output)]
    async fn reserve(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[compensate("reserve", key = 7)]
    async fn release(&self) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() {}
