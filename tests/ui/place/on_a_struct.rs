use sagaz::saga;

struct Shop;

#[saga]
struct Cart;

fn main() {}
