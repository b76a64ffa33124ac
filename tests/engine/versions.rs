//! One definition per instance, and what is stored under an older one.

use crate::{completed, failure, outcome, snapshot, state, stuck, support::*, until};
use sagaz::{
    Engine, Handle, RunsOn, SagaId, StuckReason,
    store::{InstanceState, SagaStore, memory::Memory},
};

/// A step of every saga here: no compensation takes an output, so that only the graphs differ.
macro_rules! versions {
    ($($module:ident: $head:tt { $($step:ident [$($on:literal),*] -> $output:ty = $value:expr;)* })*) => {$(
        mod $module {
            use crate::support::World;
            use sagaz::{StepContext, StepError, saga, step};

            pub(super) struct Shop(pub(super) World);

            #[saga $head]
            impl Shop {
                $(
                    #[step(no_compensation, depends_on = [$($on),*])]
                    async fn $step(&self, ctx: &StepContext<'_>) -> Result<$output, StepError> {
                        self.0.attempt(ctx, None).await.map(|()| $value)
                    }
                )*
            }
        }
    )*};
}

versions! {
    first: (name = "shop") {
        pick [] -> u64 = 1;
        pack ["pick"] -> u64 = 2;
        ship ["pack"] -> u64 = 3;
    }
    retyped: (name = "shop") {
        pick [] -> String = "one".to_owned();
        pack ["pick"] -> u64 = 2;
        ship ["pack"] -> u64 = 3;
    }
    regraphed: (name = "shop") {
        pick [] -> u64 = 1;
        pack ["pick"] -> u64 = 2;
        ship ["pick"] -> u64 = 3;
    }
    second: (name = "shop", version = 2, accepts = [1]) {
        pick [] -> u64 = 1;
        weigh ["pick"] -> u64 = 9;
        pack ["weigh"] -> u64 = 2;
        ship ["pack"] -> u64 = 3;
    }
    aloof: (name = "shop", version = 2) {
        pick [] -> u64 = 1;
        pack ["pick"] -> u64 = 2;
        ship ["pack"] -> u64 = 3;
    }
}

async fn running<G: RunsOn<Memory>>(store: &Memory, saga: G) -> Engine<Memory> {
    Engine::builder(store.clone())
        .register(saga)
        .start()
        .await
        .unwrap()
}

/// An instance of the first version whose process died while `step` ran.
async fn died_in(store: &Memory, world: &World, step: &str) -> SagaId {
    let engine = running(store, first::Shop(world.clone())).await;
    world.plan(step, [Act::Hang]);
    let id = engine.start::<first::Shop>(()).await.unwrap().id();
    world.wait_began(step, 1).await;
    engine.abort();
    id
}

async fn handle<G: RunsOn<Memory>>(engine: &Engine<Memory>, id: SagaId) -> Handle<G, Memory> {
    engine.handle::<G>(id).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn p8_an_output_that_no_longer_deserializes_is_stuck_and_goes_on_with_fixed_code() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "pack").await;
    let broken = running(&store, retyped::Shop(world.clone())).await;
    let stuck = stuck(&handle::<retyped::Shop>(&broken, id).await).await;
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("pick"), StuckReason::Undecodable)
    );
    assert!(
        stuck.message.contains("pick") && stuck.message.contains("String"),
        "{stuck}"
    );
    assert_eq!(world.entries("pack").len(), 1);
    broken.shutdown().await;

    let fixed = running(&store, first::Shop(world.clone())).await;
    fixed
        .operator("ann", "deployed the fix")
        .retry(id, "pick")
        .await
        .unwrap();
    let outputs = completed(&handle::<first::Shop>(&fixed, id).await).await;
    assert_eq!((outputs.pick, outputs.ship), (1, 3));
    assert_eq!(world.began(), ["pick", "pack", "pack", "ship"]);
}

#[tokio::test(start_paused = true)]
async fn p8_an_undecodable_instance_that_is_tried_again_without_a_fix_is_stuck_again() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "pack").await;
    let broken = running(&store, retyped::Shop(world.clone())).await;
    let handle = handle::<retyped::Shop>(&broken, id).await;
    stuck(&handle).await;
    broken
        .operator("ann", "hope")
        .retry(id, "pick")
        .await
        .unwrap();
    until("claimed again", async || {
        snapshot(&store, id).await.interventions.len() == 1
    })
    .await;
    assert_eq!(stuck(&handle).await.reason, StuckReason::Undecodable);
    assert_eq!(world.entries("pack").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p9_another_graph_of_one_version_is_refused_while_an_instance_is_unfinished() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "pack").await;
    let start = || {
        Engine::builder(store.clone())
            .register(regraphed::Shop(world.clone()))
            .start()
    };
    let error = start().await.unwrap_err();
    assert!(
        error.is_conflict() && error.to_string().contains("version = 2, accepts = [1]"),
        "{error}"
    );
    let heir = running(&store, first::Shop(world.clone())).await;
    completed(&handle::<first::Shop>(&heir, id).await).await;
    start().await.expect("nothing is unfinished");
}

#[tokio::test(start_paused = true)]
async fn p9_a_new_version_takes_over_an_older_instance_that_fits() {
    let (store, world) = (Memory::new(), World::new());
    // Only `pick` is stored, and the new graph begins with it as well.
    let id = died_in(&store, &world, "pack").await;
    let heir = running(&store, second::Shop(world.clone())).await;
    let outputs = completed(&handle::<second::Shop>(&heir, id).await).await;
    assert_eq!((outputs.weigh, outputs.ship), (9, 3));
    assert_eq!(world.began(), ["pick", "pack", "weigh", "pack", "ship"]);
    assert_eq!(snapshot(&store, id).await.summary.definition.version, 2);
}

#[tokio::test(start_paused = true)]
async fn p9_a_new_version_leaves_an_older_instance_that_does_not_fit() {
    let (store, world) = (Memory::new(), World::new());
    // `pack` is stored, and in the new graph it depends on `weigh`, which is not.
    let id = died_in(&store, &world, "ship").await;
    let before = snapshot(&store, id).await.summary;
    let stranger = running(&store, second::Shop(world.clone())).await;
    tokio::time::sleep(SECOND * 120).await;
    assert_eq!(snapshot(&store, id).await.summary, before);
    stranger.shutdown().await;
    let heir = running(&store, first::Shop(world.clone())).await;
    completed(&handle::<first::Shop>(&heir, id).await).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_new_version_that_accepts_none_takes_over_none() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "pack").await;
    let stranger = running(&store, aloof::Shop(world.clone())).await;
    tokio::time::sleep(SECOND * 120).await;
    assert_eq!(
        (state(&store, id).await, world.entries("pack").len()),
        (InstanceState::Executing, 1)
    );
    completed(&stranger.start::<aloof::Shop>(()).await.unwrap()).await;
    assert!(store.load(id).await.unwrap().is_some());
    let heir = running(&store, first::Shop(world.clone())).await;
    assert!(
        outcome(&handle::<first::Shop>(&heir, id).await)
            .await
            .is_completed()
    );
}

#[tokio::test(start_paused = true)]
async fn p9_a_step_that_ran_under_the_older_version_may_have_had_its_effect() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "pick").await;
    world.fail("pick", [crate::clean()]);
    let heir = running(&store, second::Shop(world.clone())).await;
    let failure = failure(&handle::<second::Shop>(&heir, id).await).await;
    assert_eq!(failure.reason, sagaz::FailureReason::Unknown);
}

/// `pay` becomes transactional.
mod ordinary {
    use crate::support::World;
    use sagaz::{StepContext, StepError, compensate, saga, step};

    pub(super) struct Till(pub(super) World);

    #[saga(name = "till")]
    impl Till {
        #[step]
        async fn pay(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }

        #[compensate("pay")]
        async fn undo_pay(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }

        #[step]
        async fn tell(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 2)
        }

        #[compensate("tell")]
        async fn undo_tell(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
    }
}

mod transactional {
    use crate::support::World;
    use sagaz::{StepContext, StepError, compensate, saga, step, store::memory::MemoryTransaction};

    pub(super) struct Till(pub(super) World);

    #[saga(name = "till", version = 2, accepts = [1])]
    impl Till {
        #[step]
        async fn pay(
            &self,
            ctx: &StepContext<'_>,
            _tx: &mut MemoryTransaction,
        ) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }

        #[compensate("pay")]
        async fn undo_pay(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }

        #[step]
        async fn tell(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 2)
        }

        #[compensate("tell")]
        async fn undo_tell(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
    }
}

/// Its process died while it ran, before or after the instance failed.
#[tokio::test(start_paused = true)]
async fn p4_a_step_that_was_not_transactional_under_the_older_version_is_undone() {
    for has_failed in [false, true] {
        let (store, world) = (Memory::new(), World::new());
        let engine = running(&store, ordinary::Till(world.clone())).await;
        world.plan("pay", [Act::Hang]);
        let tells = || Act::Fail(crate::permanent());
        world.plan("tell", if has_failed { [tells()] } else { [Act::Hang] });
        let id = engine.start::<ordinary::Till>(()).await.unwrap().id();
        world.wait_began("pay", 1).await;
        world.wait_began("tell", 1).await;
        let wanted = if has_failed {
            InstanceState::Compensating
        } else {
            InstanceState::Pending
        };
        until("the failure is stored", async || {
            state(&store, id).await == wanted
        })
        .await;
        engine.abort();
        world.fail("pay", [crate::clean()]);
        world.fail("tell", [crate::permanent()]);
        let heir = running(&store, transactional::Till(world.clone())).await;
        failure(&handle::<transactional::Till>(&heir, id).await).await;
        assert_eq!(world.entries("undo pay").len(), 1, "failed: {has_failed}");
    }
}
