use sagaz::{Engine, StepError, saga, sqlite::Sqlite, step};
use sqlx::PgTransaction;

struct OrderProcessing;

#[saga]
impl OrderProcessing {
    #[step(no_compensation)]
    async fn create_order(&self) -> Result<u64, StepError> {
        Ok(1)
    }
}

fn start(engine: &Engine<Sqlite>, tx: &mut PgTransaction<'_>) {
    let _ = engine.start_in::<OrderProcessing>(tx, ());
}

fn main() {}
