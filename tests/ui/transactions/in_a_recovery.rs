use sagaz::{Recover, StepError, recover, saga, step, store::memory::MemoryTransaction};

struct Shop;

#[saga]
impl Shop {
    #[step(pivot, retry(forever))]
    async fn charge(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(depends_on = [charge], retry(attempts = 3))]
    async fn mail(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[recover("mail")]
    async fn save(&self, tx: &mut MemoryTransaction) -> Recover<()> {
        let _ = tx;
        Recover::Stuck
    }
}

fn main() {}
