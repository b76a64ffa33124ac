impl Chain {
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn first(&self) -> Result<u8, StepError> {
        Ok(1)
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn second(&self, first: &u8) -> Result<(), StepError> {
        Ok(())
    }
}
#[doc(hidden)]
#[allow(
    clippy::all,
    clippy::pedantic,
    dead_code,
    elided_lifetimes_in_paths,
    long_running_const_eval,
    missing_debug_implementations,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    private_bounds,
    private_interfaces,
    unreachable_code,
    unreachable_pub,
    unused_imports,
    unused_qualifications
)]
const _: () = {
    use ::sagaz::__private::{
        ViaError as _, ViaIntoStepError as _, ViaItself as _, ViaNothing as _,
    };
    static DEFINITION: ::sagaz::__private::Definition = ::sagaz::__private::Definition {
        name: "chain",
        version: 1u32,
        accepts: &[],
        on_failure: ::sagaz::__private::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            ::sagaz::__private::StepDefinition {
                name: "first",
                depends_on: &[],
                dependents: &[1],
                kind: ::sagaz::__private::StepKind::Compensatable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagaz::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: false,
            },
            ::sagaz::__private::StepDefinition {
                name: "second",
                depends_on: &[0],
                dependents: &[],
                kind: ::sagaz::__private::StepKind::Compensatable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagaz::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: false,
            },
        ],
        pivot: ::core::option::Option::None,
    };
    const _: () = DEFINITION.check();
    /// The outputs of all steps.
    pub struct ChainOutputs {
        ///The output of step `first`.
        pub first: <Result<u8, StepError> as ::sagaz::__private::StepResult>::Output,
        ///The output of step `second`.
        pub second: <Result<(), StepError> as ::sagaz::__private::StepResult>::Output,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for ChainOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(ChainOutputs)).finish_non_exhaustive()
        }
    }
    pub struct ChainSlots {
        first: ::sagaz::__private::OnceLock<
            <Result<u8, StepError> as ::sagaz::__private::StepResult>::Output,
        >,
        second: ::sagaz::__private::OnceLock<
            <Result<(), StepError> as ::sagaz::__private::StepResult>::Output,
        >,
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
        scene: ::sagaz::__private::Scene<'a, Chain>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        ::sagaz::__private::attempt(
            scene,
            <Chain>::first(saga),
            |slots, result| match <Result<
                u8,
                StepError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.first, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<u8, StepError> as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_second<'a>(
        saga: &'a Chain,
        scene: ::sagaz::__private::Scene<'a, Chain>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Chain>::first;
        #[diagnostic::on_unimplemented(
            message = "step `second` takes `u8` from `first`, which returns `u8`",
            label = "not what `first` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput0<'a, T> {
            fn of(value: &'a T) -> Self;
        }
        #[diagnostic::do_not_recommend]
        impl<'a, T> SagazInput0<'a, T> for &'a T {
            fn of(value: &'a T) -> Self {
                value
            }
        }
        ::sagaz::__private::attempt(
            scene,
            <Chain>::second(
                saga,
                <&u8 as SagazInput0<
                    '_,
                    <Result<u8, StepError> as ::sagaz::__private::StepResult>::Output,
                >>::of(::sagaz::__private::stored(&scene.slots.first)),
            ),
            |slots, result| match <Result<
                (),
                StepError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.second, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<(), StepError> as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl ::sagaz::__private::Saga for Chain {
        type Input = ();
        type Outputs = ChainOutputs;
        type Step = ChainStep;
        type Codec = ::sagaz::__private::Json;
        const DEFINITION: &'static ::sagaz::__private::Definition = &DEFINITION;
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
            scene: ::sagaz::__private::Scene<'a, Self>,
        ) -> ::sagaz::__private::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a Chain,
                ::sagaz::__private::Scene<'a, Chain>,
            ) -> ::sagaz::__private::StepFuture<'a>; 2usize] = [step_first, step_second];
            STEPS[step](self, scene)
        }
        fn compensate<'a>(
            &'a self,
            step: usize,
            scene: ::sagaz::__private::Scene<'a, Self>,
        ) -> ::sagaz::__private::StepFuture<'a> {
            let _ = scene;
            match step {
                _ => ::sagaz::__private::no_such_step(step),
            }
        }
        fn recover<'a>(
            &'a self,
            step: usize,
            scene: ::sagaz::__private::Scene<'a, Self>,
            error: ::sagaz::__private::Arc<::sagaz::__private::StepError>,
        ) -> ::sagaz::__private::RecoverFuture<'a> {
            let _ = (scene, &error);
            match step {
                _ => ::sagaz::__private::no_such_step(step),
            }
        }
        fn output(
            &self,
            slots: &ChainSlots,
            step: usize,
            request: ::sagaz::__private::OutputRequest<'_>,
        ) -> ::core::result::Result<(), ::sagaz::__private::CodecError> {
            match step {
                0usize => {
                    <<Result<
                        u8,
                        StepError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.first, request)
                }
                1usize => {
                    <<Result<
                        (),
                        StepError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.second, request)
                }
                _ => ::sagaz::__private::no_such_step(step),
            }
        }
        fn outputs(mut slots: ChainSlots) -> ::core::option::Option<ChainOutputs> {
            let complete = true && slots.first.get().is_some()
                && slots.second.get().is_some();
            if complete {
                ::core::option::Option::Some(ChainOutputs {
                    first: ::sagaz::__private::take(&mut slots.first),
                    second: ::sagaz::__private::take(&mut slots.second),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<P: ::sagaz::__private::AnyPlace> ::sagaz::__private::RunsOn<P> for Chain {}
};
