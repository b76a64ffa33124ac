use sagaz::{compensate, recover};

struct Shop;

impl Shop {
    #[compensate("reserve")]
    async fn release(&self) {}

    #[recover("confirm")]
    async fn by_hand(&self) {}
}

fn main() {}
