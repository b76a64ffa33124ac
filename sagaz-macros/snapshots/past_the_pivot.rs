impl Desk {
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
    async fn validate(&self) -> Result<(), StepError> {}
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
    async fn charge(&self) -> Result<Payment, StepError> {}
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
    async fn refund(&self, charge: Option<Payment>) -> Result<(), StepError> {}
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
    async fn book(&self) -> Result<HashMap<String, Vec<u8>>, StepError> {}
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
    async fn confirm(
        &self,
        validate: &(),
        book: &HashMap<String, Vec<u8>>,
    ) -> Result<Payment, StepError> {}
    #[recover(__in_a_saga)]
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
    async fn give_up(
        &self,
        error: &StepError,
        charge: &Payment,
        ctx: &StepContext<'_>,
    ) -> Recover<Payment> {}
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
        name: "desk",
        version: 1u32,
        accepts: &[],
        on_failure: __sagaz::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            __sagaz::StepDefinition {
                name: "validate",
                depends_on: &[],
                dependents: &[1],
                kind: __sagaz::StepKind::Compensatable,
                no_compensation: true,
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "charge",
                depends_on: &[0],
                dependents: &[2],
                kind: __sagaz::StepKind::Compensatable,
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::Some(2u32),
                    max: ::core::time::Duration::from_millis(60000u64),
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
            __sagaz::StepDefinition {
                name: "book",
                depends_on: &[1],
                dependents: &[3],
                kind: __sagaz::StepKind::Pivot,
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::Some(2u32),
                    ..__sagaz::Retry::BACKOFF
                },
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "confirm",
                depends_on: &[2],
                dependents: &[],
                kind: __sagaz::StepKind::Retriable,
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::Some(2u32),
                    ..__sagaz::Retry::BACKOFF
                },
                recovery: true,
                ..__sagaz::StepDefinition::PLAIN
            },
        ],
        pivot: ::core::option::Option::Some(2),
    };
    const _: () = DEFINITION.check();
    use ::sagaz::__private as __sagaz;
    type __Result0 = Result<(), StepError>;
    type __Output0 = <__Result0 as __sagaz::StepResult>::Output;
    type __Result1 = Result<Payment, StepError>;
    type __Output1 = <__Result1 as __sagaz::StepResult>::Output;
    type __Result2 = Result<HashMap<String, Vec<u8>>, StepError>;
    type __Output2 = <__Result2 as __sagaz::StepResult>::Output;
    type __Result3 = Result<Payment, StepError>;
    type __Output3 = <__Result3 as __sagaz::StepResult>::Output;
    /// The outputs of all steps.
    pub struct DeskOutputs {
        ///The output of step `validate`.
        pub validate: __Output0,
        ///The output of step `charge`.
        pub charge: __Output1,
        ///The output of step `book`.
        pub book: __Output2,
        ///The output of step `confirm`.
        pub confirm: __Output3,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for DeskOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(DeskOutputs)).finish_non_exhaustive()
        }
    }
    pub struct DeskSlots {
        validate: __sagaz::OnceLock<__Output0>,
        charge: __sagaz::OnceLock<__Output1>,
        book: __sagaz::OnceLock<__Output2>,
        confirm: __sagaz::OnceLock<__Output3>,
    }
    /// The steps.
    #[derive(
        ::core::clone::Clone,
        ::core::marker::Copy,
        ::core::fmt::Debug,
        ::core::cmp::PartialEq,
        ::core::cmp::Eq,
    )]
    pub enum DeskStep {
        ///Step `validate`.
        Validate,
        ///Step `charge`.
        Charge,
        ///Step `book`.
        Book,
        ///Step `confirm`.
        Confirm,
    }
    #[automatically_derived]
    impl ::core::convert::From<DeskStep> for &'static str {
        fn from(step: DeskStep) -> Self {
            match step {
                DeskStep::Validate => "validate",
                DeskStep::Charge => "charge",
                DeskStep::Book => "book",
                DeskStep::Confirm => "confirm",
            }
        }
    }
    fn step_validate<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
    ) -> __sagaz::StepFuture<'a> {
        __sagaz::attempt(
            scene,
            <Desk>::validate(saga),
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
    fn step_charge<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Desk>::validate;
        __sagaz::attempt(
            scene,
            <Desk>::charge(saga),
            |slots, result| __sagaz::ended::<
                __Result1,
            >(
                result,
                &slots.charge,
                |error| <_ as __sagaz::Converted<
                    <__Result1 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_refund<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Desk>::charge;
        __sagaz::attempt(
            scene,
            <Desk>::refund(
                saga,
                __sagaz::undone(scene.known, &scene.slots.charge)
                    .map(<Payment as __sagaz::Owned>::owned),
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
    fn step_book<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Desk>::charge;
        __sagaz::attempt(
            scene,
            <Desk>::book(saga),
            |slots, result| __sagaz::ended::<
                __Result2,
            >(
                result,
                &slots.book,
                |error| <_ as __sagaz::Converted<
                    <__Result2 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn __key_of_confirm(
        http_order: &shop::HTTPOrder,
        validate: &__Output0,
    ) -> __sagaz::String {
        let _ = (http_order, validate);
        <_ as __sagaz::EventKey>::text(&(http_order.number + validate))
    }
    fn step_confirm<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Desk>::book;
        __sagaz::attempt(
            scene,
            <Desk>::confirm(
                saga,
                <&() as __sagaz::Taken<'_, __Output0>>::stored(&scene.slots.validate),
                <&HashMap<
                    String,
                    Vec<u8>,
                > as __sagaz::Taken<'_, __Output2>>::stored(&scene.slots.book),
            ),
            move |slots, result| __sagaz::ended_publishing::<
                __Result3,
            >(
                result,
                &slots.confirm,
                || {
                    __sagaz::Emitter {
                        saga: saga,
                        slots: slots,
                        context: scene.context,
                        event_type: "confirmed",
                        key: ::core::option::Option::Some(
                            __key_of_confirm(
                                scene.input,
                                __sagaz::stored(&slots.validate),
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
    fn recover_give_up<'a>(
        saga: &'a Desk,
        scene: __sagaz::Scene<'a, Desk>,
        error: __sagaz::Arc<__sagaz::StepError>,
    ) -> __sagaz::RecoverFuture<'a> {
        let _ = <Desk>::confirm;
        #[diagnostic::on_unimplemented(
            message = "the recovery of `confirm` gives `Payment`, and `confirm` returns `Payment`",
            label = "not what `confirm` returns",
            note = "a recovery returns `Recover` of what its step returns"
        )]
        trait SagazRecovery<T> {
            fn end(self, slot: &__sagaz::OnceLock<T>) -> __sagaz::RecoverEnd;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazRecovery<T> for __sagaz::Recover<T> {
            fn end(self, slot: &__sagaz::OnceLock<T>) -> __sagaz::RecoverEnd {
                __sagaz::recovered(self, slot)
            }
        }
        __sagaz::recovery(async move {
            let error = error;
            let result = <Desk>::give_up(
                    saga,
                    <&StepError as __sagaz::ErrorInput<'_>>::from_error(&*error),
                    <&Payment as __sagaz::Taken<
                        '_,
                        __Output1,
                    >>::stored(&scene.slots.charge),
                    <&StepContext<
                        '_,
                    > as __sagaz::Context<'_>>::from_context(scene.context),
                )
                .await;
            __sagaz::recovered_publishing(
                <Recover<
                    Payment,
                > as SagazRecovery<__Output3>>::end(result, &scene.slots.confirm),
                || {
                    __sagaz::Emitter {
                        saga: saga,
                        slots: scene.slots,
                        context: scene.context,
                        event_type: "confirmed",
                        key: ::core::option::Option::Some(
                            __key_of_confirm(
                                scene.input,
                                __sagaz::stored(&scene.slots.validate),
                            ),
                        ),
                    }
                        .kept()
                },
            )
        })
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl __sagaz::Saga for Desk {
        type Input = shop::HTTPOrder;
        type Outputs = DeskOutputs;
        type Step = DeskStep;
        type Codec = __sagaz::Json;
        const DEFINITION: &'static __sagaz::Definition = &DEFINITION;
        type Slots = DeskSlots;
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
        fn slots(&self) -> DeskSlots {
            DeskSlots {
                validate: ::core::default::Default::default(),
                charge: ::core::default::Default::default(),
                book: ::core::default::Default::default(),
                confirm: ::core::default::Default::default(),
            }
        }
        fn step<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a Desk,
                __sagaz::Scene<'a, Desk>,
            ) -> __sagaz::StepFuture<'a>; 4usize] = [
                step_validate,
                step_charge,
                step_book,
                step_confirm,
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
                1usize => compensate_refund(self, scene),
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
                3usize => recover_give_up(self, scene, error),
                _ => __sagaz::no_such_step(step),
            }
        }
        fn output(
            &self,
            slots: &DeskSlots,
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
                    >(&slots.charge, request)
                }
                2usize => {
                    <__Output2 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.book, request)
                }
                3usize => {
                    <__Output3 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.confirm, request)
                }
                _ => __sagaz::no_such_step(step),
            }
        }
        fn outputs(mut slots: DeskSlots) -> ::core::option::Option<DeskOutputs> {
            let complete = true && slots.validate.get().is_some()
                && slots.charge.get().is_some() && slots.book.get().is_some()
                && slots.confirm.get().is_some();
            if complete {
                ::core::option::Option::Some(DeskOutputs {
                    validate: __sagaz::take(&mut slots.validate),
                    charge: __sagaz::take(&mut slots.charge),
                    book: __sagaz::take(&mut slots.book),
                    confirm: __sagaz::take(&mut slots.confirm),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<__P: __sagaz::AnyPlace> __sagaz::RunsOn<__P> for Desk {}
};
