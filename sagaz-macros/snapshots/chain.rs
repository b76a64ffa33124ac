impl Chain {
    #[step(__in_a_saga)]
    #[allow(
        clippy::borrowed_box,
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::ref_option,
        clippy::too_many_arguments,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self,
        reason = "the saga asks for this signature"
    )]
    async fn first(&self) -> Result<u8, StepError> {
        Ok(1)
    }
    #[step(__in_a_saga)]
    #[allow(
        clippy::borrowed_box,
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::ref_option,
        clippy::too_many_arguments,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self,
        reason = "the saga asks for this signature"
    )]
    async fn second(&self, first: &u8) -> Result<(), StepError> {
        Ok(())
    }
}
#[doc(hidden)]
#[allow(
    clippy::all,
    clippy::pedantic,
    dead_code,
    deprecated,
    private_interfaces,
    reason = "what a saga generates is not its author's to mend"
)]
const _: () = {
    use __sagaz::{ViaError as _, ViaIntoStepError as _, ViaItself as _, ViaNothing as _};
    static DEFINITION: __sagaz::Definition = __sagaz::Definition {
        name: "chain",
        version: 1u32,
        accepts: &[],
        on_failure: __sagaz::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            __sagaz::StepDefinition {
                name: "first",
                depends_on: &[],
                dependents: &[1],
                kind: __sagaz::StepKind::Compensatable,
                no_compensation: true,
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "second",
                depends_on: &[0],
                dependents: &[],
                kind: __sagaz::StepKind::Compensatable,
                no_compensation: true,
                ..__sagaz::StepDefinition::PLAIN
            },
        ],
        pivot: ::core::option::Option::None,
    };
    const _: () = DEFINITION.check();
    use ::sagaz::__private as __sagaz;
    type __Result0 = Result<u8, StepError>;
    type __Output0 = <__Result0 as __sagaz::StepResult>::Output;
    type __Result1 = Result<(), StepError>;
    type __Output1 = <__Result1 as __sagaz::StepResult>::Output;
    /// The outputs of all steps.
    pub struct ChainOutputs {
        ///The output of step `first`.
        pub first: __Output0,
        ///The output of step `second`.
        pub second: __Output1,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for ChainOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(ChainOutputs)).finish_non_exhaustive()
        }
    }
    pub struct ChainSlots {
        first: __sagaz::OnceLock<__Output0>,
        second: __sagaz::OnceLock<__Output1>,
    }
    /// The steps.
    #[derive(
        ::core::clone::Clone,
        ::core::marker::Copy,
        ::core::fmt::Debug,
        ::core::cmp::PartialEq,
        ::core::cmp::Eq,
    )]
    pub enum ChainStep {
        ///Step `first`.
        First,
        ///Step `second`.
        Second,
    }
    #[automatically_derived]
    impl ::core::convert::From<ChainStep> for &'static str {
        fn from(step: ChainStep) -> Self {
            match step {
                ChainStep::First => "first",
                ChainStep::Second => "second",
            }
        }
    }
    fn step_first<'a>(
        saga: &'a Chain,
        scene: __sagaz::Scene<'a, Chain>,
    ) -> __sagaz::StepFuture<'a> {
        __sagaz::attempt(
            scene,
            <Chain>::first(saga),
            |slots, result| __sagaz::ended::<
                __Result0,
            >(
                result,
                &slots.first,
                |error| <_ as __sagaz::Converted<
                    <__Result0 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn step_second<'a>(
        saga: &'a Chain,
        scene: __sagaz::Scene<'a, Chain>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Chain>::first;
        __sagaz::attempt(
            scene,
            <Chain>::second(
                saga,
                <&u8 as __sagaz::Taken<'_, __Output0>>::stored(&scene.slots.first),
            ),
            |slots, result| __sagaz::ended::<
                __Result1,
            >(
                result,
                &slots.second,
                |error| <_ as __sagaz::Converted<
                    <__Result1 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl __sagaz::Saga for Chain {
        type Input = ();
        type Outputs = ChainOutputs;
        type Step = ChainStep;
        type Codec = __sagaz::Json;
        const DEFINITION: &'static __sagaz::Definition = &DEFINITION;
        type Slots = ChainSlots;
        type PerStep<T: ::core::marker::Send> = [T; 2usize];
        fn per_step<T: ::core::marker::Send>(
            &self,
            make: impl ::core::ops::FnMut(usize) -> T,
        ) -> [T; 2usize] {
            ::core::array::from_fn(make)
        }
        fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(
            &self,
            value: T,
        ) -> [T; 2usize] {
            [value; 2usize]
        }
        fn slots(&self) -> ChainSlots {
            ChainSlots {
                first: ::core::default::Default::default(),
                second: ::core::default::Default::default(),
            }
        }
        fn step<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a Chain,
                __sagaz::Scene<'a, Chain>,
            ) -> __sagaz::StepFuture<'a>; 2usize] = [step_first, step_second];
            STEPS[step](self, scene)
        }
        fn compensate<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            let _ = scene;
            match step {
                _ => __sagaz::no_such_step(step),
            }
        }
        fn recover<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
            error: __sagaz::Arc<__sagaz::StepError>,
        ) -> __sagaz::RecoverFuture<'a> {
            let _ = (scene, &error);
            match step {
                _ => __sagaz::no_such_step(step),
            }
        }
        fn output(
            &self,
            slots: &ChainSlots,
            step: usize,
            request: __sagaz::OutputRequest<'_>,
        ) -> ::core::result::Result<(), __sagaz::CodecError> {
            match step {
                0usize => {
                    <__Output0 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.first, request)
                }
                1usize => {
                    <__Output1 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.second, request)
                }
                _ => __sagaz::no_such_step(step),
            }
        }
        fn outputs(mut slots: ChainSlots) -> ::core::option::Option<ChainOutputs> {
            let complete = true && slots.first.get().is_some()
                && slots.second.get().is_some();
            if complete {
                ::core::option::Option::Some(ChainOutputs {
                    first: __sagaz::take(&mut slots.first),
                    second: __sagaz::take(&mut slots.second),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<__P: __sagaz::AnyPlace> __sagaz::RunsOn<__P> for Chain {}
};
