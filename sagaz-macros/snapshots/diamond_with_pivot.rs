impl Diamond {
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
    async fn reserve(&self, order: &Order) -> Result<Hold, StockError> {}
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
    async fn release(&self, reserve: &Hold) -> Result<(), StockError> {}
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
    async fn charge(
        &self,
        ctx: &StepContext<'_>,
        reserve: &Hold,
    ) -> Result<Payment, PaymentError> {}
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
    async fn refund(&self, charge: Option<&Payment>) -> Result<(), PaymentError> {}
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
    async fn check(&self, order: Order) -> Result<(), StockError> {}
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
    async fn book(&self, charge: &Payment) -> Result<Shipment, CourierError> {}
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
    async fn confirm(&self, book: &Shipment) -> Result<(), MailError> {}
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
        name: "diamond",
        version: 1u32,
        accepts: &[],
        on_failure: __sagaz::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            __sagaz::StepDefinition {
                name: "reserve",
                depends_on: &[],
                dependents: &[1, 2],
                kind: __sagaz::StepKind::Compensatable,
                atomic: true,
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "release",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: __sagaz::Retry::COMPENSATION,
                    insists: true,
                    transactional: false,
                }),
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "charge",
                depends_on: &[0],
                dependents: &[3],
                kind: __sagaz::StepKind::Compensatable,
                timeout: ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(30000u64),
                ),
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
                name: "check",
                depends_on: &[0],
                dependents: &[3],
                kind: __sagaz::StepKind::Compensatable,
                no_compensation: true,
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "book",
                depends_on: &[1, 2],
                dependents: &[4],
                kind: __sagaz::StepKind::Pivot,
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::Some(8u32),
                    initial: ::core::time::Duration::from_millis(1000u64),
                    max: __sagaz::at_least(
                        __sagaz::Retry::BACKOFF.max,
                        ::core::time::Duration::from_millis(1000u64),
                    ),
                    ..__sagaz::Retry::BACKOFF
                },
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "confirm",
                depends_on: &[3],
                dependents: &[],
                kind: __sagaz::StepKind::Retriable,
                retry: __sagaz::Retry {
                    attempts: ::core::option::Option::None,
                    ..__sagaz::Retry::BACKOFF
                },
                ..__sagaz::StepDefinition::PLAIN
            },
        ],
        pivot: ::core::option::Option::Some(3),
    };
    const _: () = DEFINITION.check();
    use ::sagaz::__private as __sagaz;
    type __Result0 = Result<Hold, StockError>;
    type __Output0 = <__Result0 as __sagaz::StepResult>::Output;
    type __Result1 = Result<Payment, PaymentError>;
    type __Output1 = <__Result1 as __sagaz::StepResult>::Output;
    type __Result2 = Result<(), StockError>;
    type __Output2 = <__Result2 as __sagaz::StepResult>::Output;
    type __Result3 = Result<Shipment, CourierError>;
    type __Output3 = <__Result3 as __sagaz::StepResult>::Output;
    type __Result4 = Result<(), MailError>;
    type __Output4 = <__Result4 as __sagaz::StepResult>::Output;
    /// The outputs of all steps.
    pub struct DiamondOutputs {
        ///The output of step `reserve`.
        pub reserve: __Output0,
        ///The output of step `charge`.
        pub charge: __Output1,
        ///The output of step `check`.
        pub check: __Output2,
        ///The output of step `book`.
        pub book: __Output3,
        ///The output of step `confirm`.
        pub confirm: __Output4,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for DiamondOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(DiamondOutputs)).finish_non_exhaustive()
        }
    }
    pub struct DiamondSlots {
        reserve: __sagaz::OnceLock<__Output0>,
        charge: __sagaz::OnceLock<__Output1>,
        check: __sagaz::OnceLock<__Output2>,
        book: __sagaz::OnceLock<__Output3>,
        confirm: __sagaz::OnceLock<__Output4>,
    }
    /// The steps.
    #[derive(
        ::core::clone::Clone,
        ::core::marker::Copy,
        ::core::fmt::Debug,
        ::core::cmp::PartialEq,
        ::core::cmp::Eq,
    )]
    pub enum DiamondStep {
        ///Step `reserve`.
        Reserve,
        ///Step `charge`.
        Charge,
        ///Step `check`.
        Check,
        ///Step `book`.
        Book,
        ///Step `confirm`.
        Confirm,
    }
    #[automatically_derived]
    impl ::core::convert::From<DiamondStep> for &'static str {
        fn from(step: DiamondStep) -> Self {
            match step {
                DiamondStep::Reserve => "reserve",
                DiamondStep::Charge => "charge",
                DiamondStep::Check => "check",
                DiamondStep::Book => "book",
                DiamondStep::Confirm => "confirm",
            }
        }
    }
    fn step_reserve<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        __sagaz::attempt(
            scene,
            <Diamond>::reserve(
                saga,
                <&Order as __sagaz::Taken<'_, Order>>::taken(scene.input),
            ),
            |slots, result| __sagaz::ended::<
                __Result0,
            >(
                result,
                &slots.reserve,
                |error| <_ as __sagaz::Converted<
                    <__Result0 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_release<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        __sagaz::attempt(
            scene,
            <Diamond>::release(
                saga,
                <&Hold as __sagaz::Taken<
                    '_,
                    __Output0,
                >>::taken(
                    __sagaz::certain(__sagaz::undone(scene.known, &scene.slots.reserve)),
                ),
            ),
            |_, result| match <Result<
                (),
                StockError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => __sagaz::AttemptEnd::Completed,
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), StockError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn step_charge<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        __sagaz::attempt_within(
            scene,
            <Diamond>::charge(
                saga,
                <&StepContext<'_> as __sagaz::Context<'_>>::from_context(scene.context),
                <&Hold as __sagaz::Taken<'_, __Output0>>::stored(&scene.slots.reserve),
            ),
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
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::charge;
        __sagaz::attempt(
            scene,
            <Diamond>::refund(
                saga,
                <Option<
                    &Payment,
                > as __sagaz::MaybeTaken<
                    '_,
                    __Output1,
                >>::taken(__sagaz::undone(scene.known, &scene.slots.charge)),
            ),
            |_, result| match <Result<
                (),
                PaymentError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => __sagaz::AttemptEnd::Completed,
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), PaymentError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn step_check<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        __sagaz::attempt(
            scene,
            <Diamond>::check(saga, <Order as __sagaz::Owned>::owned(scene.input)),
            |slots, result| __sagaz::ended::<
                __Result2,
            >(
                result,
                &slots.check,
                |error| <_ as __sagaz::Converted<
                    <__Result2 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn step_book<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::charge;
        let _ = <Diamond>::check;
        __sagaz::attempt(
            scene,
            <Diamond>::book(
                saga,
                <&Payment as __sagaz::Taken<'_, __Output1>>::stored(&scene.slots.charge),
            ),
            |slots, result| __sagaz::ended::<
                __Result3,
            >(
                result,
                &slots.book,
                |error| <_ as __sagaz::Converted<
                    <__Result3 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn step_confirm<'a>(
        saga: &'a Diamond,
        scene: __sagaz::Scene<'a, Diamond>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Diamond>::book;
        __sagaz::attempt(
            scene,
            <Diamond>::confirm(
                saga,
                <&Shipment as __sagaz::Taken<'_, __Output3>>::stored(&scene.slots.book),
            ),
            |slots, result| __sagaz::ended::<
                __Result4,
            >(
                result,
                &slots.confirm,
                |error| <_ as __sagaz::Converted<
                    <__Result4 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl __sagaz::Saga for Diamond {
        type Input = Order;
        type Outputs = DiamondOutputs;
        type Step = DiamondStep;
        type Codec = __sagaz::Json;
        const DEFINITION: &'static __sagaz::Definition = &DEFINITION;
        type Slots = DiamondSlots;
        type PerStep<T: ::core::marker::Send> = [T; 5usize];
        fn per_step<T: ::core::marker::Send>(
            &self,
            make: impl ::core::ops::FnMut(usize) -> T,
        ) -> [T; 5usize] {
            ::core::array::from_fn(make)
        }
        fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(
            &self,
            value: T,
        ) -> [T; 5usize] {
            [value; 5usize]
        }
        fn slots(&self) -> DiamondSlots {
            DiamondSlots {
                reserve: ::core::default::Default::default(),
                charge: ::core::default::Default::default(),
                check: ::core::default::Default::default(),
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
                &'a Diamond,
                __sagaz::Scene<'a, Diamond>,
            ) -> __sagaz::StepFuture<'a>; 5usize] = [
                step_reserve,
                step_charge,
                step_check,
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
                0usize => compensate_release(self, scene),
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
                _ => __sagaz::no_such_step(step),
            }
        }
        fn output(
            &self,
            slots: &DiamondSlots,
            step: usize,
            request: __sagaz::OutputRequest<'_>,
        ) -> ::core::result::Result<(), __sagaz::CodecError> {
            match step {
                0usize => {
                    <__Output0 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.reserve, request)
                }
                1usize => {
                    <__Output1 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.charge, request)
                }
                2usize => {
                    <__Output2 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.check, request)
                }
                3usize => {
                    <__Output3 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.book, request)
                }
                4usize => {
                    <__Output4 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.confirm, request)
                }
                _ => __sagaz::no_such_step(step),
            }
        }
        fn outputs(mut slots: DiamondSlots) -> ::core::option::Option<DiamondOutputs> {
            let complete = true && slots.reserve.get().is_some()
                && slots.charge.get().is_some() && slots.check.get().is_some()
                && slots.book.get().is_some() && slots.confirm.get().is_some();
            if complete {
                ::core::option::Option::Some(DiamondOutputs {
                    reserve: __sagaz::take(&mut slots.reserve),
                    charge: __sagaz::take(&mut slots.charge),
                    check: __sagaz::take(&mut slots.check),
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
    impl<__P: __sagaz::AnyPlace> __sagaz::RunsOn<__P> for Diamond {}
};
