//! Every setting, every way to name a step and every way to take an input, in crates that allow nothing.
#![deny(
    warnings,
    clippy::all,
    clippy::pedantic,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub
)]
#![forbid(unsafe_code)]

use sagaz::{
    Codec, CodecError, Recover, Saga, StepContext, StepError, compensate, recover, saga, step,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BankResult<T> = Result<T, BoxError>;

/// A name that the generated code must not hide.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step(u8);

/// Likewise.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outputs {
    hold: Option<u64>,
}

/// The input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HTTPOrder {
    /// In cents.
    pub amount: u64,
}

/// A codec of one's own.
#[derive(Clone, Copy, Debug)]
pub struct Text;

impl Codec for Text {
    const CONTENT_TYPE: &'static str = "text/plain";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

/// The saga.
#[derive(Debug)]
pub struct Everything {
    fee: u64,
}

#[saga(
    name = "every-thing",
    input = HTTPOrder,
    on_failure = grace,
    deadline = "1h",
    version = 2,
    accepts = [1],
    codec = Text,
    crate = ::sagaz,
)]
impl Everything {
    const LIMIT: u64 = 100;

    fn allowed(&self, amount: u64) -> bool {
        amount + self.fee < Self::LIMIT
    }

    #[sagaz::step(name = "check-order", no_compensation, limit = 20)]
    async fn validate(&self, http_order: HTTPOrder) -> Result<(), String> {
        if self.allowed(http_order.amount) {
            Ok(())
        } else {
            Err("too much".into())
        }
    }

    /// An output that is an `Option` itself.
    #[step(atomic, depends_on = validate)]
    async fn maybe(
        &self,
        _ctx: &StepContext<'_>,
        _validate: &(),
    ) -> Result<Option<u64>, &'static str> {
        Ok(Some(self.fee))
    }

    #[compensate(maybe, after = ["r#type"], timeout = "5s", retry(attempts = 3, initial = "1m", factor = 3, jitter = 0.1))]
    async fn forget(&self, maybe: Option<u64>) -> Result<(), StepError> {
        let _ = maybe;
        Ok(())
    }

    #[step(atomic, depends_on = [validate])]
    async fn r#type(&self, #[from(input)] order: &HTTPOrder) -> BankResult<Outputs> {
        Ok(Outputs {
            hold: Some(order.amount),
        })
    }

    #[compensate("type")]
    async fn untype(&self, r#type: Outputs, ctx: &StepContext<'_>) -> BankResult<()> {
        let _ = (r#type.hold, ctx.failure());
        Ok(())
    }

    #[step(depends_on = ["maybe", r#type], timeout = "500ms", retry(forever, max = "2m"))]
    async fn charge<'x>(
        &'x self,
        ctx: &'x StepContext<'x>,
        #[from("type")] Outputs { hold }: &'x Outputs,
        mut maybe: Option<u64>,
    ) -> std::io::Result<Step> {
        let _ = (ctx.step(), hold, maybe.take());
        Ok(Step(1))
    }

    #[compensate(charge)]
    async fn refund(
        &self,
        charge: Option<Step>,
        input: HTTPOrder,
        r#type: &Outputs,
    ) -> Result<(), StepError> {
        let _ = (charge.map(|step| step.0), input.amount, r#type.hold);
        Ok(())
    }

    #[step(depends_on = [charge], pivot, retry(attempts = 2))]
    async fn book(&self) -> Result<std::collections::HashMap<String, Vec<u8>>, StepError> {
        Ok(std::collections::HashMap::new())
    }

    #[step(depends_on = ["book"], retry(attempts = 2))]
    async fn confirm(
        &self,
        validate: &(),
        book: &std::collections::HashMap<String, Vec<u8>>,
    ) -> Result<Step, StepError> {
        let () = validate;
        Ok(Step(u8::try_from(book.len()).unwrap_or(u8::MAX)))
    }

    #[recover("confirm")]
    async fn give_up(
        &self,
        error: &StepError,
        charge: &Step,
        ctx: &StepContext<'_>,
    ) -> Recover<Step> {
        let _ = (error.is_clean(), ctx.attempt());
        Recover::Use(charge.clone())
    }
}

macro_rules! make {
    ($name:ident, $output:ty, $input:ty) => {
        #[derive(Debug)]
        struct $name;

        #[saga(input = $input)]
        impl $name {
            #[step(atomic)]
            async fn only(&self, input: $input) -> Result<$output, StepError> {
                Ok(input.into())
            }
        }
    };
}

make!(Made, u64, u32);

mod inner {
    //! A private type in the output of a public saga.
    use sagaz::{StepError, saga, step};

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Secret;

    #[derive(Debug)]
    pub(crate) struct Public;

    #[saga]
    impl Public {
        #[step(atomic)]
        async fn keep(&self) -> Result<Secret, StepError> {
            Ok(Secret)
        }
    }
}

#[test]
fn every_setting_is_accepted_where_no_lint_is_allowed() {
    fn names<G: Saga>(_: &G) -> Vec<&'static str> {
        G::DEFINITION.steps.iter().map(|step| step.name).collect()
    }
    assert_eq!(
        names(&Everything { fee: 1 }),
        ["check-order", "maybe", "type", "charge", "book", "confirm"]
    );
    assert_eq!(names(&Made), ["only"]);
    assert_eq!(names(&inner::Public), ["keep"]);
}
