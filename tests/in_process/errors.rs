//! Types of errors, and what each says of an attempt.

use crate::{failure, support::World};
use sagaz::{FailureReason, IntoStepError, Saga, StepContext, StepError, compensate, saga, step};

#[derive(Debug)]
enum OwnError {
    Refused,
    Lost,
}

impl IntoStepError for OwnError {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Refused => StepError::permanent("refused"),
            Self::Lost => StepError::unknown("lost"),
        }
    }
}

/// An error that is both: its author's word goes first.
#[derive(Debug, thiserror::Error)]
#[error("both")]
struct Both;

impl IntoStepError for Both {
    fn into_step_error(self) -> StepError {
        StepError::permanent(self)
    }
}

macro_rules! fails_with {
    ($name:ident, $error:ty) => {
        struct $name(World, fn() -> $error);

        #[saga]
        impl $name {
            #[step(retry(attempts = 2, initial = "1s"))]
            async fn only(&self, ctx: &StepContext<'_>) -> Result<(), $error> {
                match self.0.attempt(ctx, None).await {
                    Ok(()) => Err((self.1)()),
                    Err(_) => Ok(()),
                }
            }

            #[compensate("only")]
            async fn undo(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.attempt(ctx, None).await
            }
        }
    };
}

fails_with!(FailsWithIo, std::io::Error);
fails_with!(FailsWithText, &'static str);
fails_with!(FailsWithBox, Box<dyn std::error::Error + Send + Sync>);
fails_with!(FailsWithOwn, OwnError);
fails_with!(FailsWithBoth, Both);
fails_with!(FailsWithItself, StepError);

#[tokio::test(start_paused = true)]
async fn p5_an_error_that_says_nothing_is_retried_and_leaves_the_outcome_unknown() {
    let worlds = [World::new(), World::new(), World::new()];
    let _ = FailsWithIo(worlds[0].clone(), || std::io::Error::other("io"))
        .run(())
        .await;
    let _ = FailsWithText(worlds[1].clone(), || "text").run(()).await;
    let _ = FailsWithBox(worlds[2].clone(), || "box".into())
        .run(())
        .await;
    for world in worlds {
        assert_eq!(world.began(), ["only", "only", "undo only"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_an_error_whose_author_says_so_is_what_he_says() {
    let world = World::new();
    let outcome = FailsWithOwn(world.clone(), || OwnError::Refused)
        .run(())
        .await;
    assert_eq!(
        (failure(outcome).reason, world.began()),
        (FailureReason::Failed, vec!["only".to_owned()])
    );

    let world = World::new();
    let outcome = FailsWithOwn(world.clone(), || OwnError::Lost).run(()).await;
    assert_eq!(failure(outcome).reason, FailureReason::Unknown);
    assert_eq!(world.began(), ["only", "undo only"]);

    let world = World::new();
    let outcome = FailsWithBoth(world.clone(), || Both).run(()).await;
    assert_eq!(
        (&*failure(outcome).message, world.began()),
        ("both", vec!["only".to_owned()])
    );

    let world = World::new();
    let outcome = FailsWithItself(world.clone(), || StepError::unknown("itself"))
        .run(())
        .await;
    assert_eq!(&*failure(outcome).message, "itself");
    assert_eq!(world.began(), ["only", "undo only"]);
}
