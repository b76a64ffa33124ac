use sagaz::{saga, step};
use std::io::Error;

struct Store<T>(T);

struct Shop;

#[saga]
impl<T: Send> Store<T> {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
