use sagaz::saga;

struct Shop;

#[saga]
impl Default for Shop {
    fn default() -> Self {
        Shop
    }
}

fn main() {}
