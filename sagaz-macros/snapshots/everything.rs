impl shop::Everything {
    const LIMIT: u64 = 100;
    /// An ordinary method.
    fn allowed(&self, amount: u64) -> bool {
        amount < Self::LIMIT
    }
    #[sagas::step(__in_a_saga)]
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
    async fn validate(&self, http_order: shop::HTTPOrder) -> Result<(), String> {}
    #[instrument(skip_all)]
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
    async fn maybe(
        &self,
        _ctx: &StepContext<'_>,
        _validate: &(),
    ) -> Result<Option<u64>, &'static str> {}
    #[compensate(__in_a_saga)]
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
    async fn forget(&self, maybe: Option<Option<u64>>) -> Result<(), StepError> {}
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
    async fn r#type(&self, order: &shop::HTTPOrder) -> BankResult<Self::Hold> {}
    #[compensate(__in_a_saga)]
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
    async fn untype(
        &self,
        r#type: Option<&Hold>,
        ctx: &StepContext<'_>,
    ) -> BankResult<()> {}
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
    async fn charge<'x>(
        &'x self,
        ctx: &'x StepContext<'x>,
        Hold { hold }: &'x Hold,
        mut maybe: Option<u64>,
    ) -> std::io::Result<Payment> {}
    #[compensate(__in_a_saga)]
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
    async fn refund(
        &self,
        charge: Option<Payment>,
        input: shop::HTTPOrder,
        r#type: &Hold,
    ) -> Result<(), StepError> {}
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
        name: "every-thing",
        version: 2u32,
        accepts: &[1u32],
        on_failure: __sagaz::OnFailure::Grace(
            ::core::option::Option::Some(::core::time::Duration::from_millis(10000u64)),
        ),
        deadline: ::core::option::Option::Some(
            ::core::time::Duration::from_millis(3600000u64),
        ),
        steps: &[
            __sagaz::StepDefinition {
                name: "check-order",
                depends_on: &[],
                dependents: &[1, 2],
                kind: __sagaz::StepKind::Compensatable,
                limit: ::core::option::Option::Some(20u32),
                no_compensation: true,
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "maybe",
                depends_on: &[0],
                dependents: &[3],
                kind: __sagaz::StepKind::Compensatable,
                atomic: true,
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "forget",
                    after: &[2],
                    before: &[],
                    timeout: ::core::option::Option::Some(
                        ::core::time::Duration::from_millis(5000u64),
                    ),
                    retry: __sagaz::Retry {
                        attempts: ::core::option::Option::Some(3u32),
                        initial: ::core::time::Duration::from_millis(60000u64),
                        max: __sagaz::at_least(
                            __sagaz::Retry::BACKOFF.max,
                            ::core::time::Duration::from_millis(60000u64),
                        ),
                        factor: 3f64,
                        jitter: 0.1f64,
                        ..__sagaz::Retry::BACKOFF
                    },
                    insists: false,
                    transactional: false,
                }),
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "type",
                depends_on: &[0],
                dependents: &[3],
                kind: __sagaz::StepKind::Compensatable,
                atomic: true,
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "untype",
                    after: &[],
                    before: &[1],
                    timeout: ::core::option::Option::None,
                    retry: __sagaz::Retry::COMPENSATION,
                    insists: false,
                    transactional: false,
                }),
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "charge",
                depends_on: &[1, 2],
                dependents: &[],
                kind: __sagaz::StepKind::Compensatable,
                timeout: ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(500u64),
                ),
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::None,
                    max: ::core::time::Duration::from_millis(120000u64),
                    ..__sagaz::Retry::BACKOFF
                },
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "refund",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: __sagaz::Retry::COMPENSATION,
                    insists: false,
                    transactional: false,
                }),
                ..__sagaz::StepDefinition::PLAIN
            },
        ],
        pivot: ::core::option::Option::None,
    };
    const _: () = DEFINITION.check();
    use ::sagas::__private as __sagaz;
    type __Result0 = Result<(), String>;
    type __Output0 = <__Result0 as __sagaz::StepResult>::Output;
    type __Result1 = Result<Option<u64>, &'static str>;
    type __Output1 = <__Result1 as __sagaz::StepResult>::Output;
    type __Result2 = BankResult<shop::Everything::Hold>;
    type __Output2 = <__Result2 as __sagaz::StepResult>::Output;
    type __Result3 = std::io::Result<Payment>;
    type __Output3 = <__Result3 as __sagaz::StepResult>::Output;
    /// The outputs of all steps.
    pub struct EverythingOutputs {
        ///The output of step `validate`.
        pub validate: __Output0,
        ///The output of step `maybe`.
        pub maybe: __Output1,
        ///The output of step `type`.
        pub r#type: __Output2,
        ///The output of step `charge`.
        pub charge: __Output3,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for EverythingOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(EverythingOutputs)).finish_non_exhaustive()
        }
    }
    pub struct EverythingSlots {
        validate: __sagaz::OnceLock<__Output0>,
        maybe: __sagaz::OnceLock<__Output1>,
        r#type: __sagaz::OnceLock<__Output2>,
        charge: __sagaz::OnceLock<__Output3>,
    }
    /// The steps.
    #[derive(
        ::core::clone::Clone,
        ::core::marker::Copy,
        ::core::fmt::Debug,
        ::core::cmp::PartialEq,
        ::core::cmp::Eq,
    )]
    pub enum EverythingStep {
        ///Step `validate`.
        Validate,
        ///Step `maybe`.
        Maybe,
        ///Step `type`.
        Type,
        ///Step `charge`.
        Charge,
    }
    #[automatically_derived]
    impl ::core::convert::From<EverythingStep> for &'static str {
        fn from(step: EverythingStep) -> Self {
            match step {
                EverythingStep::Validate => "check-order",
                EverythingStep::Maybe => "maybe",
                EverythingStep::Type => "type",
                EverythingStep::Charge => "charge",
            }
        }
    }
    fn step_validate<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        __sagaz::attempt(
            scene,
            <shop::Everything>::validate(
                saga,
                <shop::HTTPOrder as __sagaz::Owned>::owned(scene.input),
            ),
            |slots, result| __sagaz::ended::<
                __Result0,
            >(
                result,
                &slots.validate,
                |error| <_ as __sagaz::Converted<
                    <__Result0 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn step_maybe<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::validate;
        __sagaz::attempt(
            scene,
            <shop::Everything>::maybe(
                saga,
                <&StepContext<'_> as __sagaz::Context<'_>>::from_context(scene.context),
                <&() as __sagaz::Taken<'_, __Output0>>::stored(&scene.slots.validate),
            ),
            |slots, result| __sagaz::ended::<
                __Result1,
            >(
                result,
                &slots.maybe,
                |error| <_ as __sagaz::Converted<
                    <__Result1 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_forget<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::maybe;
        let _ = <shop::Everything>::r#type;
        __sagaz::attempt_within(
            scene,
            <shop::Everything>::forget(
                saga,
                __sagaz::undone(scene.known, &scene.slots.maybe)
                    .map(<Option<u64> as __sagaz::Owned>::owned),
            ),
            |_, result| match <Result<
                (),
                StepError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => __sagaz::AttemptEnd::Completed,
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), StepError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn step_type<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::validate;
        __sagaz::attempt(
            scene,
            <shop::Everything>::r#type(
                saga,
                <&shop::HTTPOrder as __sagaz::Taken<
                    '_,
                    shop::HTTPOrder,
                >>::taken(scene.input),
            ),
            |slots, result| __sagaz::ended::<
                __Result2,
            >(
                result,
                &slots.r#type,
                |error| <_ as __sagaz::Converted<
                    <__Result2 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_untype<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::r#type;
        #[diagnostic::on_unimplemented(
            message = "compensation `untype` takes `Hold` from `type`, which returns `Self::Hold`",
            label = "not what `type` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput0<'a, T> {
            fn of(value: ::core::option::Option<&'a T>) -> Self;
        }
        #[diagnostic::do_not_recommend]
        impl<'a, T> SagazInput0<'a, T> for ::core::option::Option<&'a T> {
            fn of(value: Self) -> Self {
                value
            }
        }
        __sagaz::attempt(
            scene,
            <shop::Everything>::untype(
                saga,
                <Option<
                    &Hold,
                > as SagazInput0<
                    '_,
                    __Output2,
                >>::of(__sagaz::undone(scene.known, &scene.slots.r#type)),
                <&StepContext<'_> as __sagaz::Context<'_>>::from_context(scene.context),
            ),
            |_, result| match <BankResult<()> as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => __sagaz::AttemptEnd::Completed,
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <BankResult<()> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn __key_of_charge(
        output: &__Output3,
        __saga: &shop::Everything,
        input: &shop::HTTPOrder,
    ) -> __sagaz::String {
        let _ = (output, __saga, input);
        <_ as __sagaz::EventKey>::text(
            &(format!("{}{}", output.id, __saga.of:: < A, B > (input))),
        )
    }
    fn step_charge<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::maybe;
        let _ = <shop::Everything>::r#type;
        #[diagnostic::on_unimplemented(
            message = "step `charge` takes `Hold` from `type`, which returns `Self::Hold`",
            label = "not what `type` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput1<'a, T> {
            fn of(value: &'a T) -> Self;
        }
        #[diagnostic::do_not_recommend]
        impl<'a, T> SagazInput1<'a, T> for &'a T {
            fn of(value: &'a T) -> Self {
                value
            }
        }
        __sagaz::attempt_within(
            scene,
            <shop::Everything>::charge(
                saga,
                <&'_ StepContext<
                    '_,
                > as __sagaz::Context<'_>>::from_context(scene.context),
                <&'_ Hold as SagazInput1<
                    '_,
                    __Output2,
                >>::of(__sagaz::stored(&scene.slots.r#type)),
                <Option<
                    u64,
                > as __sagaz::Owned>::owned(__sagaz::stored(&scene.slots.maybe)),
            ),
            move |slots, result| __sagaz::ended_publishing::<
                __Result3,
            >(
                result,
                &slots.charge,
                || {
                    __sagaz::Emitter {
                        saga: saga,
                        slots: slots,
                        context: scene.context,
                        event_type: "charged",
                        key: ::core::option::Option::Some(
                            __key_of_charge(
                                __sagaz::stored(&slots.charge),
                                saga,
                                scene.input,
                            ),
                        ),
                    }
                        .kept()
                },
                |error| <_ as __sagaz::Converted<
                    <__Result3 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_refund<'a>(
        saga: &'a shop::Everything,
        scene: __sagaz::Scene<'a, shop::Everything>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <shop::Everything>::charge;
        #[diagnostic::on_unimplemented(
            message = "compensation `refund` takes `Hold` from `type`, which returns `Self::Hold`",
            label = "not what `type` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput2<'a, T> {
            fn of(value: &'a T) -> Self;
        }
        #[diagnostic::do_not_recommend]
        impl<'a, T> SagazInput2<'a, T> for &'a T {
            fn of(value: &'a T) -> Self {
                value
            }
        }
        __sagaz::attempt(
            scene,
            <shop::Everything>::refund(
                saga,
                __sagaz::undone(scene.known, &scene.slots.charge)
                    .map(<Payment as __sagaz::Owned>::owned),
                <shop::HTTPOrder as __sagaz::Owned>::owned(scene.input),
                <&Hold as SagazInput2<
                    '_,
                    __Output2,
                >>::of(__sagaz::stored(&scene.slots.r#type)),
            ),
            move |slots, result| match <Result<
                (),
                StepError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    __sagaz::published(
                        __sagaz::Emitter {
                            saga: saga,
                            slots: slots,
                            context: scene.context,
                            event_type: "refunded",
                            key: ::core::option::Option::None,
                        }
                            .undone(scene.known),
                    )
                }
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), StepError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl __sagaz::Saga for shop::Everything {
        type Input = shop::HTTPOrder;
        type Outputs = EverythingOutputs;
        type Step = EverythingStep;
        type Codec = Text;
        const DEFINITION: &'static __sagaz::Definition = &DEFINITION;
        type Slots = EverythingSlots;
        type PerStep<T: ::core::marker::Send> = [T; 4usize];
        fn per_step<T: ::core::marker::Send>(
            &self,
            make: impl ::core::ops::FnMut(usize) -> T,
        ) -> [T; 4usize] {
            ::core::array::from_fn(make)
        }
        fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(
            &self,
            value: T,
        ) -> [T; 4usize] {
            [value; 4usize]
        }
        fn slots(&self) -> EverythingSlots {
            EverythingSlots {
                validate: ::core::default::Default::default(),
                maybe: ::core::default::Default::default(),
                r#type: ::core::default::Default::default(),
                charge: ::core::default::Default::default(),
            }
        }
        fn step<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a shop::Everything,
                __sagaz::Scene<'a, shop::Everything>,
            ) -> __sagaz::StepFuture<'a>; 4usize] = [
                step_validate,
                step_maybe,
                step_type,
                step_charge,
            ];
            STEPS[step](self, scene)
        }
        fn compensate<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            let _ = scene;
            match step {
                1usize => compensate_forget(self, scene),
                2usize => compensate_untype(self, scene),
                3usize => compensate_refund(self, scene),
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
            slots: &EverythingSlots,
            step: usize,
            request: __sagaz::OutputRequest<'_>,
        ) -> ::core::result::Result<(), __sagaz::CodecError> {
            match step {
                0usize => {
                    <__Output0 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.validate, request)
                }
                1usize => {
                    <__Output1 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.maybe, request)
                }
                2usize => {
                    <__Output2 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.r#type, request)
                }
                3usize => {
                    <__Output3 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.charge, request)
                }
                _ => __sagaz::no_such_step(step),
            }
        }
        fn outputs(
            mut slots: EverythingSlots,
        ) -> ::core::option::Option<EverythingOutputs> {
            let complete = true && slots.validate.get().is_some()
                && slots.maybe.get().is_some() && slots.r#type.get().is_some()
                && slots.charge.get().is_some();
            if complete {
                ::core::option::Option::Some(EverythingOutputs {
                    validate: __sagaz::take(&mut slots.validate),
                    maybe: __sagaz::take(&mut slots.maybe),
                    r#type: __sagaz::take(&mut slots.r#type),
                    charge: __sagaz::take(&mut slots.charge),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<__P: __sagaz::AnyPlace> __sagaz::RunsOn<__P> for shop::Everything {}
};
