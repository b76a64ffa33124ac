//! Sagas as tokens: a chain, a diamond with a pivot, one that writes in transactions, one with every setting, and one with a recovery.

use proc_macro2::TokenStream;
use quote::quote;

pub(super) fn all() -> [(TokenStream, TokenStream); 5] {
    [
        chain(),
        diamond_with_pivot(),
        transactional(),
        everything(),
        past_the_pivot(),
    ]
}

pub(super) fn chain() -> (TokenStream, TokenStream) {
    let item = quote! {
        impl Chain {
            #[step(no_compensation)]
            async fn first(&self) -> Result<u8, StepError> {
                Ok(1)
            }

            #[step(no_compensation, depends_on = ["first"])]
            async fn second(&self, first: &u8) -> Result<(), StepError> {
                Ok(())
            }
        }
    };
    (quote!(), item)
}

pub(super) fn diamond_with_pivot() -> (TokenStream, TokenStream) {
    let item = quote! {
        impl Diamond {
            #[step(atomic)]
            async fn reserve(&self, order: &Order) -> Result<Hold, StockError> {}

            #[compensate("reserve")]
            async fn release(&self, reserve: &Hold) -> Result<(), StockError> {}

            #[step(depends_on = ["reserve"], timeout = "30s")]
            async fn charge(&self, ctx: &StepContext, reserve: &Hold) -> Result<Payment, PaymentError> {}

            #[compensate("charge")]
            async fn refund(&self, charge: Option<&Payment>) -> Result<(), PaymentError> {}

            #[step(depends_on = ["reserve"], no_compensation)]
            async fn check(&self, order: Order) -> Result<(), StockError> {}

            #[step(depends_on = ["charge", "check"], pivot, retry(attempts = 8, initial = "1s"))]
            async fn book(&self, charge: &Payment) -> Result<Shipment, CourierError> {}

            #[step(depends_on = ["book"], retry(forever))]
            async fn confirm(&self, book: &Shipment) -> Result<(), MailError> {}
        }
    };
    (quote!(name = "diamond", input = Order), item)
}

pub(super) fn transactional() -> (TokenStream, TokenStream) {
    let item = quote! {
        impl Bank {
            #[step(timeout = "5s", emits = "debited", key = output)]
            async fn debit(&self, transfer: &Transfer, tx: &mut shop::Transaction<'_, Db>) -> Result<i64, BankError> {}

            #[compensate("debit", key = transfer.from, emits = "given.back")]
            async fn give_back(&self, tx: &mut shop::Transaction<'_, Db>, debit: &i64) -> Result<(), BankError> {}

            #[step(depends_on = ["debit"])]
            async fn credit(&self, ctx: &StepContext<'_>, debit: &i64) -> Result<(), BankError> {}

            #[compensate("credit")]
            async fn take_back(&self, ctx: &StepContext<'_>, credit: Option<&()>) -> Result<(), BankError> {}

            #[step(depends_on = ["credit"], pivot)]
            async fn close(&self, _tx: &mut Transaction<Db>) -> Result<(), BankError> {}
        }
    };
    (quote!(input = Transfer), item)
}

pub(super) fn everything() -> (TokenStream, TokenStream) {
    let arguments = quote! {
        name = "every-thing", input = shop::HTTPOrder, on_failure = grace("10s"), deadline = "1h", version = 2,
        accepts = [1], codec = Text, crate = ::sagas
    };
    let item = quote! {
        impl shop::Everything {
            const LIMIT: u64 = 100;

            /// An ordinary method.
            fn allowed(&self, amount: u64) -> bool {
                amount < Self::LIMIT
            }

            #[sagas::step(name = "check-order", no_compensation, limit = 20)]
            async fn validate(&self, http_order: shop::HTTPOrder) -> Result<(), String> {}

            #[instrument(skip_all)]
            #[step(atomic, depends_on = validate)]
            async fn maybe(&self, _ctx: &StepContext<'_>, _validate: &()) -> Result<Option<u64>, &'static str> {}

            #[compensate(maybe, after = ["r#type"], timeout = "5s", retry(attempts = 3, initial = "1m", factor = 3, jitter = 0.1))]
            async fn forget(&self, maybe: Option<Option<u64>>) -> Result<(), StepError> {}

            #[step(atomic, depends_on = [validate])]
            async fn r#type(&self, #[from(input)] order: &shop::HTTPOrder) -> BankResult<Self::Hold> {}

            #[compensate("type")]
            async fn untype(&self, r#type: Option<&Hold>, ctx: &StepContext<'_>) -> BankResult<()> {}

            #[step(depends_on = ["maybe", r#type], timeout = "500ms", retry(forever, max = "2m"), emits = "charged", key = format!("{}{}", output.id, self.of::<A, B>(input)))]
            async fn charge<'x>(&'x self, ctx: &'x StepContext<'x>, #[from("type")] Hold { hold }: &'x Hold, mut maybe: Option<u64>) -> std::io::Result<Payment> {}

            #[compensate(charge, emits = "refunded")]
            async fn refund(&self, charge: Option<Payment>, input: shop::HTTPOrder, r#type: &Hold) -> Result<(), StepError> {}
        }
    };
    (arguments, item)
}

pub(super) fn past_the_pivot() -> (TokenStream, TokenStream) {
    let item = quote! {
        impl Desk {
            #[step(no_compensation)]
            async fn validate(&self) -> Result<(), StepError> {}

            #[step(depends_on = [validate], retry(attempts = 2, max = "1m"))]
            async fn charge(&self) -> Result<Payment, StepError> {}

            #[compensate(charge)]
            async fn refund(&self, charge: Option<Payment>) -> Result<(), StepError> {}

            #[step(depends_on = [charge], pivot, retry(attempts = 2))]
            async fn book(&self) -> Result<HashMap<String, Vec<u8>>, StepError> {}

            #[step(depends_on = ["book"], retry(attempts = 2), emits = "confirmed", key = http_order.number + validate)]
            async fn confirm(&self, validate: &(), book: &HashMap<String, Vec<u8>>) -> Result<Payment, StepError> {}

            #[recover("confirm")]
            async fn give_up(&self, error: &StepError, charge: &Payment, ctx: &StepContext<'_>) -> Recover<Payment> {}
        }
    };
    (quote!(input = shop::HTTPOrder), item)
}
