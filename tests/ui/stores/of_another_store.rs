use sagaz::{Engine, StepError, compensate, saga, sqlite::Sqlite, step};
use sqlx::PgTransaction;

struct OrderProcessing;

#[saga]
impl OrderProcessing {
    #[step]
    async fn create_order(&self, tx: &mut PgTransaction<'_>) -> Result<u64, StepError> {
        let _ = tx;
        Ok(1)
    }

    #[compensate("create_order")]
    async fn cancel_order(&self, create_order: &u64) -> Result<(), StepError> {
        let _ = create_order;
        Ok(())
    }
}

fn run(store: Sqlite) {
    let _ = Engine::builder(store).register(OrderProcessing);
}

fn main() {}
