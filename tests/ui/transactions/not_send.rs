use sagaz::{StepError, saga, step, store::memory::MemoryTransaction};
use std::rc::Rc;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &mut MemoryTransaction) -> Result<(), StepError> {
        let here = Rc::new(1);
        tokio::task::yield_now().await;
        let _ = (tx, here);
        Ok(())
    }
}

fn main() {}
