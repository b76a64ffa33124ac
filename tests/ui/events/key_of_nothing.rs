use sagaz::{StepError, compensate, saga, step};

struct Shop;

#[saga(input = u64)]
impl Shop {
    #[step(emits = "stock.reserved", key = hold)]
    async fn reserve(&self) -> Result<u64, StepError> {
        let hold = 1;
        Ok(hold)
    }

    // It is not known by then.
    #[compensate("reserve", emits = "stock.released", key = charge)]
    async fn release(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self) -> Result<u64, StepError> {
        Ok(1)
    }
}

fn main() {}
