use sagaz::{Engine, Memory, StepError, saga, step};

struct Pen;
struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn charge(&self, tx: &mut Pen) -> Result<(), StepError> {
        let _ = tx;
        Ok(())
    }
}

fn main() {
    let _ = Engine::builder(Memory::new()).register(Shop);
}
