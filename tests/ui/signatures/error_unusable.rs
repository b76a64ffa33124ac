use sagaz::{Saga, saga, step};

struct Failure;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Failure> {
        Err(Failure)
    }
}

fn main() {
    let _ = Shop.run(());
}
