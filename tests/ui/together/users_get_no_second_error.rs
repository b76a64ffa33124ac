use std::io::Error;

use sagaz::{Engine, Memory, Outcome, Saga, saga, step};

struct Shop;

#[saga(input = u8)]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self, input: &u8) -> Result<u8, Error> {
        Ok(*input)
    }

    #[step(no_compensation, depends_on = ["elsewhere"])]
    async fn charge(&self) -> Result<(), Error> {
        Ok(())
    }

    fn price(&self) -> u8 {
        1
    }
}

async fn elsewhere() -> Option<u8> {
    let engine = Engine::builder(Memory::new()).register(Shop).start().await.ok()?;
    let handle = engine.start::<Shop>(Shop.price()).key("one").await.ok()?;
    println!("{}", Shop::graph().mermaid());
    if let Outcome::Completed(outputs) = handle.outcome().await.ok()? {
        return Some(outputs.reserve);
    }
    let _ = Shop.charge().await;
    match Shop.run(1).await {
        Outcome::Completed(outputs) => Some(outputs.reserve + 1),
        Outcome::RolledBack(failure) => failure.step.map(|_| 0),
        Outcome::Stuck(_) => None,
    }
}

fn main() {}
