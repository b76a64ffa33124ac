use std::io::Error;

use sagaz::{saga, step};

struct Shop;

#[saga]
impl Shop {
    #[step(no_compensation)]
    async fn reserve(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }

    #[step(no_compensation, depends_on = [reserve])]
    async fn charge(&self, reserve: Vec<String>) -> Result<(), Error> {
        drop(reserve);
        Ok(())
    }

    #[step(no_compensation, depends_on = [reserve])]
    async fn ship(&self, reserve: &std::sync::Arc<u8>) -> Result<(), Error> {
        let _ = reserve;
        Ok(())
    }
}

fn main() {}
