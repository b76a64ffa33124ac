use sagaz::{StepError, saga, step, store::memory::MemoryTransaction};

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &MemoryTransaction) -> Result<(), StepError> {
        let _ = tx;
        Ok(())
    }
}

fn main() {}
