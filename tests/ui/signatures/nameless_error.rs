use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<(), impl std::error::Error> {
        Err::<(), _>(Error::other("no"))
    }
}

fn main() {}
