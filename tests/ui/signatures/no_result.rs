use sagaz::{StepError, Saga, saga, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Hold;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Hold {
        Hold
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn charge(&self, reserve: &Hold) -> Result<(), StepError> {
        let _ = reserve;
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
