//! Bugs that people write into sagas, each planted here, each found, with a story from which it is clear.
#![expect(clippy::print_stdout, reason = "a story is to be read")]

use sagaz::{
    StepContext, StepError, compensate, saga, step,
    testing::{CrashMatrix, Ledger, Promise, TakenBack, Violation},
};

const SHOP: &str = "shop";

const PRICE: i64 = 300;

const RECEIPT: u64 = 1;

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// A repeated refund gives the money back again.
    RefundNotIdempotent,
    /// A repeated charge takes the money again.
    ChargeIgnoresItsKey,
    /// A refund of a charge that never came is an error.
    RefundAssumesTheCharge,
    /// The same, by a panic.
    RefundUnwraps,
    /// A charge that arrives after its refund is made.
    ChargeAfterItsRefund,
    /// A repeated charge does nothing, and gives no receipt.
    RepeatWithoutReceipt,
}

struct Shop(Ledger, Bug);

#[saga(name = "shop", input = u64)]
impl Shop {
    #[step]
    async fn charge(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        let key = ctx.action_key();
        match self.1 {
            Bug::ChargeIgnoresItsKey => self.0.effect(SHOP, "charge", &key, PRICE).await,
            // It knows what it has charged, and nothing of refunds.
            Bug::ChargeAfterItsRefund if self.0.of(SHOP, "charge").is_empty() => {
                self.0.effect(SHOP, "charge", &key, PRICE).await;
            }
            Bug::ChargeAfterItsRefund => {}
            _ => {
                let is_first = self.0.once(SHOP, "charge", &key, PRICE).await?;
                if !is_first && self.1 == Bug::RepeatWithoutReceipt {
                    return Ok(0);
                }
            }
        }
        Ok(RECEIPT)
    }

    #[compensate("charge", retry(attempts = 3, initial = "1s"))]
    async fn refund(&self, ctx: &StepContext<'_>, charge: Option<&u64>) -> Result<(), StepError> {
        let key = ctx.action_key();
        match self.1 {
            Bug::RefundNotIdempotent => {
                let is_first = self.0.undo(SHOP, "charge", &key).await;
                if !is_first && !self.0.of(SHOP, "charge").is_empty() {
                    self.0.effect(SHOP, "refund", &key, -PRICE).await;
                }
                Ok(())
            }
            Bug::RefundAssumesTheCharge => {
                if self.0.undo(SHOP, "charge", &key).await
                    || !self.0.of(SHOP, "undo of charge").is_empty()
                {
                    Ok(())
                } else {
                    Err(StepError::permanent("there is no such charge"))
                }
            }
            Bug::RefundUnwraps => {
                assert_eq!(*charge.expect("there is a charge"), RECEIPT);
                self.0.undo(SHOP, "charge", &key).await;
                Ok(())
            }
            Bug::ChargeAfterItsRefund => {
                let charged = self.0.balance(SHOP);
                if charged > 0 {
                    self.0.effect(SHOP, "refund", &key, -charged).await;
                }
                Ok(())
            }
            _ => {
                self.0.undo(SHOP, "charge", &key).await;
                Ok(())
            }
        }
    }

    #[step(depends_on = ["charge"])]
    async fn ship(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        self.0.once("courier", "ship", &ctx.action_key(), 1).await?;
        Ok(1)
    }

    #[compensate("ship")]
    async fn call_back(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.undo("courier", "ship", &ctx.action_key()).await;
        Ok(())
    }
}

fn matrix(bug: Bug) -> CrashMatrix<Ledger, Shop> {
    CrashMatrix::of(move |ledger: &Ledger| Shop(ledger.clone(), bug), [17]).check(
        |ledger: &Ledger, run| {
            if run.is_completed() {
                assert_eq!(ledger.balance(SHOP), PRICE, "the customer pays once");
                assert_eq!(run.output("charge"), Some(RECEIPT), "there is a receipt");
            }
            if run.is_rolled_back() {
                assert_eq!(
                    ledger.balance(SHOP),
                    0,
                    "the customer has the money back, once"
                );
            }
        },
    )
}

fn found(bug: Bug) -> Violation {
    let violation = *matrix(bug).try_run().expect_err("the bug is found");
    println!("{violation}");
    assert!(violation.plan().len() <= 2, "no more faults than it takes");
    let again = matrix(bug)
        .replay(&violation.seed())
        .expect_err("the same again");
    assert_eq!(again.to_string(), violation.to_string());
    let mended = matrix(Bug::None).replay(&violation.seed());
    mended.expect("without the bug the same faults do no harm");
    violation
}

#[test]
fn without_a_bug_nothing_is_found() {
    println!("{}", matrix(Bug::None).triples(200).run());
}

#[test]
fn a_compensation_that_is_not_idempotent_is_found() {
    let violation = found(Bug::RefundNotIdempotent);
    assert_eq!(violation.promise(), Promise::Invariant);
    assert!(violation.words().contains("once"), "{}", violation.words());
    let refunds = violation.story().matches(" -300").count();
    assert!(refunds > 1, "{}", violation.story());
}

#[test]
fn a_step_that_ignores_its_idempotency_key_is_found() {
    let violation = found(Bug::ChargeIgnoresItsKey);
    assert_eq!(violation.promise(), Promise::Invariant);
    let charges = violation.story().matches("→ shop: charge +300").count();
    assert!(charges > 1, "{}", violation.story());
}

/// The instance is stuck, and that is nobody's fault but the refund's.
fn found_in_the_refund(bug: Bug) -> Violation {
    let violation = found(bug);
    assert_eq!(violation.promise(), Promise::P1);
    assert_eq!(violation.plan().len(), 1, "one fault is enough");
    let words = violation.words();
    assert!(
        words.contains("undo of `charge` failed by itself"),
        "{words}"
    );
    violation
}

#[test]
fn a_refund_that_assumes_the_charge_is_found() {
    let violation = found_in_the_refund(Bug::RefundAssumesTheCharge);
    let story = violation.story();
    assert!(story.contains("there is no such charge"), "{story}");
    // It is the one that the README shows.
    let (_, shown) = include_str!("../../../README.md")
        .split_once("```text\ncrash matrix of")
        .unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let told = violation.to_string();
    for line in shown.lines().filter(|line| line.trim() != "..") {
        assert!(told.contains(line), "the README says otherwise: {line}");
    }
}

#[test]
fn a_refund_that_unwraps_the_charge_is_found() {
    let violation = found_in_the_refund(Bug::RefundUnwraps);
    let story = violation.story();
    assert!(story.contains("panicked"), "{story}");
}

#[test]
fn a_charge_that_arrives_after_its_refund_is_found() {
    let violation = found(Bug::ChargeAfterItsRefund);
    assert_eq!(violation.promise(), Promise::Invariant);
    let story = violation.story();
    let charge = story.rfind("→ shop: charge +300").unwrap();
    assert!(story[..charge].contains("rolled_back"), "{story}");
}

#[test]
fn a_repeated_charge_that_gives_no_receipt_is_found() {
    let violation = found(Bug::RepeatWithoutReceipt);
    assert_eq!(violation.promise(), Promise::Invariant);
    assert!(
        violation.words().contains("there is a receipt"),
        "{}",
        violation.words()
    );
    assert_eq!(violation.plan().len(), 1, "an answer that nobody hears");
}

/// Not only the counts: line by line.
#[test]
fn two_runs_with_one_seed_are_identical() {
    let matrix = matrix(Bug::None);
    let seeds = [
        "1-0",
        "1-0-0b358c4e",
        "1-0-e6674436-28016185",
        "1-0-e52ee8e0-317a0bcc-b18487e9",
    ];
    for seed in seeds {
        let told = || matrix.replay(seed).unwrap();
        assert_eq!(told(), told(), "{seed}");
    }
}

#[test]
#[should_panic(expected = "fault 2 of the plan, `00000000`, does not come up")]
fn a_seed_of_another_saga_is_refused_with_what_is_not_there() {
    let _ = matrix(Bug::None).replay("1-0-0b358c4e-00000000");
}
