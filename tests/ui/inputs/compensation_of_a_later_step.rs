use sagaz::{compensate, saga, step};
use serde::{Deserialize, Serialize};
use std::io::Error;

#[derive(Clone, Serialize, Deserialize)]
struct Parcel;

struct Shop;

#[saga]
impl Shop {
    #[step]
    async fn reserve(&self) -> Result<(), Error> {
        Ok(())
    }

    #[compensate("reserve")]
    async fn release(&self, ship: &Parcel) -> Result<(), Error> {
        let _ = ship;
        Ok(())
    }

    #[step(no_compensation, depends_on = ["reserve"])]
    async fn ship(&self) -> Result<Parcel, Error> {
        Ok(Parcel)
    }
}

fn main() {}
