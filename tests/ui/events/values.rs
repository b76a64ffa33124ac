use sagaz::{StepError, compensate, saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation, emits = "", key = output)]
    async fn reserve(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[step(no_compensation, depends_on = [reserve], emits = 7)]
    async fn charge(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[step(no_compensation, depends_on = [charge], emits, key)]
    async fn book(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[step(depends_on = [book], emits = "a\nb", key = output +)]
    async fn ship(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[compensate("ship", publishes = "ship.recalled", key = "k")]
    async fn recall(&self) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() {}
