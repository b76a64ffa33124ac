use sagaz::{StepError, compensate, saga, step, store::memory::MemoryTransaction};

struct OtherTransaction;
struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &mut MemoryTransaction) -> Result<(), StepError> {
        let _ = tx;
        Ok(())
    }

    #[compensate("charge")]
    async fn refund(&self, tx: &mut OtherTransaction) -> Result<(), StepError> {
        let _ = tx;
        Ok(())
    }
}

fn main() {}
