use sagaz::{Saga, saga, step};
use std::io::Error;

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        let guard = std::rc::Rc::new(1);
        std::future::ready(()).await;
        drop(guard);
        Ok(())
    }
}

fn main() {
    let _ = Shop.run(());
}
