use sagaz::{StepError, compensate, saga, step, store::memory::MemoryTransaction};

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &mut MemoryTransaction) -> Result<u64, StepError> {
        let _ = tx;
        Ok(1)
    }

    #[compensate("charge")]
    async fn refund(&self, tx: &mut MemoryTransaction, charge: &String) -> Result<(), StepError> {
        let _ = (tx, charge);
        Ok(())
    }
}

fn main() {}
