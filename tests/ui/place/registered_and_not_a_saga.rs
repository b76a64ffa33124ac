struct Order;

async fn start() {
    let _ = sagaz::Engine::builder(sagaz::Memory::new()).register(Order).start().await;
}

fn main() {}
