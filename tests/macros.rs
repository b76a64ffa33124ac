#[path = "ui/pass/order_processing.rs"]
#[allow(dead_code)]
mod order_processing;
