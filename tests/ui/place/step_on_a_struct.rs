use sagaz::step;

#[step]
struct Order;

fn main() {}
