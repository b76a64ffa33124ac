//! What `#[saga]` makes of a saga: the tables, the types and the conversions, seen through the facade.

use sagaz::{
    IntoStepError, OnFailure, Outcome, Recover, Retry, Saga, StepError, StepKind, compensate,
    recover, saga, step,
};
use std::{fmt, time::Duration};

/// Steps out of order, every kind, every policy.
struct Shop;

#[saga(on_failure = grace("10s"), deadline = "2h", version = 3, accepts = [1, 2])]
impl Shop {
    #[step(depends_on = [book], retry(forever, initial = "1m"), limit = 7)]
    async fn confirm(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[recover(confirm)]
    async fn give_up(&self, error: &StepError) -> Recover<u8> {
        let _ = error;
        Recover::Stuck
    }

    #[step(depends_on = ["reserve", "charge"], pivot, retry(attempts = 8, factor = 3, jitter = 0, max = "1m"))]
    async fn book(&self, charge: &String, reserve: u32) -> Result<String, StepError> {
        Ok(format!("{charge} {reserve}"))
    }

    #[step(name = "charge-card", timeout = "1500ms")]
    async fn charge(&self) -> Result<String, StepError> {
        Ok("paid".into())
    }

    #[compensate("charge", after = ["reserve"], timeout = "1d", retry(attempts = 2))]
    async fn refund(&self, charge: Option<&String>) -> Result<(), StepError> {
        let _ = charge;
        Ok(())
    }

    #[step(atomic)]
    async fn reserve(&self) -> Result<u32, StepError> {
        Ok(2)
    }

    #[compensate("reserve")]
    async fn release(&self, reserve: Option<u32>) -> Result<(), StepError> {
        let _ = reserve;
        Ok(())
    }
}

#[test]
fn steps_are_in_topological_order_and_ties_in_source_order() {
    let names: Vec<_> = Shop::DEFINITION
        .steps
        .iter()
        .map(|step| step.name)
        .collect();
    assert_eq!(names, ["charge-card", "reserve", "book", "confirm"]);
}

#[test]
fn edges_are_in_both_directions() {
    let edges: Vec<_> = Shop::DEFINITION
        .steps
        .iter()
        .map(|step| (step.depends_on, step.dependents))
        .collect();
    assert_eq!(
        edges,
        [
            (&[][..], &[2][..]),
            (&[], &[2]),
            (&[0, 1], &[3]),
            (&[2], &[])
        ]
    );
    let undo = |at: usize| Shop::DEFINITION.steps[at].compensation.expect("it has one");
    assert_eq!((undo(0).after, undo(0).before), (&[1][..], &[][..]));
    assert_eq!((undo(1).after, undo(1).before), (&[][..], &[0][..]));
}

#[test]
fn kinds_are_relative_to_the_pivot() {
    let kinds: Vec<_> = Shop::DEFINITION
        .steps
        .iter()
        .map(|step| step.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            StepKind::Compensatable,
            StepKind::Compensatable,
            StepKind::Pivot,
            StepKind::Retriable
        ]
    );
    assert_eq!(Shop::DEFINITION.pivot, Some(2));
}

#[test]
fn settings_of_the_saga_are_in_its_definition() {
    let definition = Shop::DEFINITION;
    assert_eq!(definition.name, "shop");
    assert_eq!((definition.version, definition.accepts), (3, &[1, 2][..]));
    assert_eq!(
        definition.on_failure,
        OnFailure::Grace(Some(Duration::from_secs(10)))
    );
    assert_eq!(definition.deadline, Some(Duration::from_hours(2)));
}

#[test]
fn settings_of_a_step_are_in_its_definition() {
    let [charge, reserve, book, confirm] = Shop::DEFINITION.steps else {
        panic!("four steps")
    };
    assert_eq!(charge.timeout, Some(Duration::from_millis(1_500)));
    assert_eq!(charge.retry, Retry::NONE);
    assert!(reserve.atomic && !charge.atomic);
    let exact = Retry {
        attempts: Some(8),
        factor: 3.0,
        jitter: 0.0,
        max: Duration::from_mins(1),
        ..Retry::BACKOFF
    };
    assert_eq!(book.retry, exact);
    assert_eq!(confirm.retry.attempts, None);
    assert_eq!(confirm.limit, Some(7));
    assert!(confirm.recovery && !book.recovery);
}

#[test]
fn a_first_delay_beyond_the_default_maximum_is_meant() {
    let retry = Shop::DEFINITION.steps[3].retry;
    assert_eq!(
        (retry.initial, retry.max),
        (Duration::from_mins(1), Duration::from_mins(1))
    );
}

#[test]
fn settings_of_a_compensation_are_in_its_definition() {
    let refund = Shop::DEFINITION.steps[0].compensation.expect("it has one");
    assert_eq!(
        (refund.name, refund.timeout),
        ("refund", Some(Duration::from_hours(24)))
    );
    assert_eq!(
        refund.retry,
        Retry {
            attempts: Some(2),
            ..Retry::BACKOFF
        }
    );
    let release = Shop::DEFINITION.steps[1].compensation.expect("it has one");
    assert_eq!(release.retry, Retry::COMPENSATION);
}

#[test]
fn a_step_is_a_value_with_the_stored_name() {
    fn stored<G: Saga>(step: G::Step) -> &'static str {
        step.into()
    }
    type Step = <Shop as Saga>::Step;
    assert_eq!(stored::<Shop>(Step::Charge), "charge-card");
    assert_eq!(stored::<Shop>(Step::Confirm), "confirm");
    assert_ne!(Step::Charge, Step::Book);
    assert_eq!(format!("{:?}", Step::Book), "Book");
}

/// Whether a compensation insists on its step's output.
struct Insisting;

#[saga]
impl Insisting {
    #[step(atomic)]
    async fn certain(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[compensate("certain")]
    async fn undo_certain(&self, certain: &u8) -> Result<(), StepError> {
        let _ = certain;
        Ok(())
    }

    #[step(atomic)]
    async fn either(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[compensate("either")]
    async fn undo_either(&self, either: Option<&u8>) -> Result<(), StepError> {
        let _ = either;
        Ok(())
    }

    #[step(atomic)]
    async fn optional(&self) -> Result<Option<u8>, StepError> {
        Ok(None)
    }

    #[compensate("optional")]
    async fn undo_optional(&self, optional: Option<u8>) -> Result<(), StepError> {
        let _ = optional;
        Ok(())
    }

    #[step(atomic)]
    async fn unasked(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[compensate("unasked")]
    async fn undo_unasked(&self) -> Result<(), StepError> {
        Ok(())
    }
}

#[test]
fn p5_a_compensation_insists_only_if_its_parameter_is_the_bare_output() {
    let insists: Vec<_> = Insisting::DEFINITION
        .steps
        .iter()
        .map(|step| step.compensation.map(|undo| undo.insists))
        .collect();
    assert_eq!(insists, [Some(true), Some(false), Some(true), Some(false)]);
}

#[test]
fn outputs_go_through_bytes_into_their_slots() {
    let saga = Insisting;
    let slots = saga.slots();
    for (step, bytes) in ["7", "8", "null", "9"].iter().enumerate() {
        saga.decode(&slots, step, bytes.as_bytes())
            .expect("it is a value of the type");
        assert_eq!(
            saga.encode(&slots, step).expect("it is there"),
            bytes.as_bytes()
        );
    }
    assert!(saga.decode(&saga.slots(), 0, b"\"text\"").is_err());
    assert!(Insisting::outputs(saga.slots()).is_none());
    let outputs = Insisting::outputs(slots).expect("all are there");
    assert_eq!(
        (
            outputs.certain,
            outputs.either,
            outputs.optional,
            outputs.unasked
        ),
        (7, 8, None, 9)
    );
    assert_eq!(
        saga.output_type(&saga.slots(), 2),
        "core::option::Option<u8>"
    );
}

/// An error that says what it is, although it is a `std` error too.
#[derive(Debug)]
struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("declined")
    }
}

impl std::error::Error for Declined {}

impl IntoStepError for Declined {
    fn into_step_error(self) -> StepError {
        StepError::permanent(self)
    }
}

/// A saga whose last step fails with an error of this type, and whose recovery says what became of it: whether it may be
/// tried again, whether it was clean, and its text.
macro_rules! failing_with {
    ($name:ident, $error:ty, $value:expr) => {
        struct $name;

        #[saga]
        impl $name {
            #[step(pivot, retry(attempts = 1))]
            async fn first(&self) -> Result<(), StepError> {
                Ok(())
            }

            #[step(depends_on = [first], retry(attempts = 1))]
            async fn last(&self) -> Result<(bool, bool, String), $error> {
                Err($value)
            }

            #[recover(last)]
            async fn tell(&self, error: &StepError) -> Recover<(bool, bool, String)> {
                Recover::Use((error.is_retryable(), error.is_clean(), error.to_string()))
            }
        }
    };
}

failing_with!(Itself, StepError, StepError::unknown("itself"));
failing_with!(Says, Declined, Declined);
failing_with!(Standard, fmt::Error, fmt::Error);
failing_with!(Text, String, "text".to_owned());
failing_with!(
    Boxed,
    Box<dyn std::error::Error + Send + Sync>,
    "boxed".into()
);

#[tokio::test]
async fn the_most_specific_conversion_of_an_error_is_taken() {
    macro_rules! told_by {
        ($saga:expr) => {
            match $saga.run(()).await {
                Outcome::Completed(outputs) => outputs.last,
                other => panic!(
                    "the recovery gives an output, not {}",
                    other.is_rolled_back()
                ),
            }
        };
    }
    assert_eq!(told_by!(Itself), (false, false, "itself".to_owned()));
    assert_eq!(told_by!(Says), (false, true, "declined".to_owned()));
    let (retryable, clean, _) = told_by!(Standard);
    assert_eq!((retryable, clean), (true, false));
    assert_eq!(told_by!(Text), (true, false, "text".to_owned()));
    assert_eq!(told_by!(Boxed), (true, false, "boxed".to_owned()));
}
