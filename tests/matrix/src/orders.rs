//! The saga of the example `cdnow_orders`, with services whose books are in memory.

use crate::example::{
    orders::{self, Order},
    saga::OrderProcessing,
    services::{Service, ServiceError},
};
use futures_util::{FutureExt, future::BoxFuture};
use sagaz::testing::{CrashMatrix, Ledger, Run, checkpoint};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// What a service does, and what it takes back.
const DONE: &str = "done";

/// All services, and what each was asked for each order.
#[derive(Clone, Default)]
pub(crate) struct Shop {
    ledger: Ledger,
    asked: Arc<Mutex<BTreeMap<(&'static str, u32), Asked>>>,
}

#[derive(Default)]
struct Asked {
    keys: BTreeSet<String>,
    is_void: bool,
}

/// A service whose books are a ledger. It keeps its word: a repeated key does nothing, whatever was done for an order can be taken back,
/// and what comes after that is refused.
struct Books {
    service: &'static str,
    shop: Shop,
}

impl Books {
    fn asked<T>(&self, order_no: u32, of: impl FnOnce(&mut Asked) -> T) -> T {
        let mut asked = self
            .shop
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        of(asked.entry((self.service, order_no)).or_default())
    }
}

impl Service for Books {
    fn perform<'a>(
        &'a self,
        key: &'a str,
        order_no: u32,
        amount: u32,
    ) -> BoxFuture<'a, Result<i64, ServiceError>> {
        const TAKEN_BACK: ServiceError = ServiceError::Refused("it was taken back before it came");
        async move {
            let is_void = self.asked(order_no, |asked| {
                asked.keys.insert(key.to_owned());
                asked.is_void
            });
            if is_void {
                return Err(TAKEN_BACK);
            }
            let ledger = &self.shop.ledger;
            let done = ledger.once(self.service, DONE, key, amount.into());
            done.await.map_err(|_| TAKEN_BACK)?;
            Ok(1)
        }
        .boxed()
    }

    fn undo<'a>(&'a self, _key: &'a str, order_no: u32) -> BoxFuture<'a, Result<(), ServiceError>> {
        async move {
            checkpoint(&format!("{}: taken back", self.service)).await;
            let keys = self.asked(order_no, |asked| {
                asked.is_void = true;
                asked.keys.clone()
            });
            for key in keys {
                self.shop.ledger.undo(self.service, DONE, &key).await;
            }
            Ok(())
        }
        .boxed()
    }
}

fn books_balance(shop: &Shop, run: &Run<OrderProcessing>) {
    let ledger = &shop.ledger;
    let order = run.input();
    for (service, due) in [
        ("stock", order.quantity),
        ("payments", order.cents),
        ("labels", 1),
        ("loyalty", order.cents / 100),
        ("courier", 1),
        ("mail", 1),
    ] {
        if run.is_completed() {
            assert_eq!(ledger.balance(service), i64::from(due), "{service}");
        }
        if run.is_rolled_back() {
            assert_eq!(ledger.balance(service), 0, "{service}");
        }
        assert!(
            ledger.of(service, DONE).len() <= 1,
            "{service}: under two keys"
        );
    }
}

pub(crate) fn matrix() -> CrashMatrix<Shop, OrderProcessing> {
    let csv = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/data/cdnow_orders.csv"
    );
    let orders = orders::read(Path::new(csv)).unwrap_or_else(|refused| panic!("{refused}"));
    let first: Option<Order> = orders.into_iter().next();
    let saga = |shop: &Shop| {
        let shop = shop.clone();
        OrderProcessing::new(move |service| {
            Arc::new(Books {
                service,
                shop: shop.clone(),
            })
        })
    };
    CrashMatrix::of(saga, first).check(books_balance)
}
