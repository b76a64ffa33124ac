use sagaz::{Saga, StepError, saga, step, store::memory::MemoryTransaction};

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &mut MemoryTransaction) -> Result<(), StepError> {
        let _ = tx;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
