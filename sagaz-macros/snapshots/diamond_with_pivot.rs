impl Diamond {
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn reserve(&self, order: &Order) -> Result<Hold, StockError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[compensate(__in_a_saga)]
    async fn release(&self, reserve: &Hold) -> Result<(), StockError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn charge(
        &self,
        ctx: &StepContext<'_>,
        reserve: &Hold,
    ) -> Result<Payment, PaymentError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[compensate(__in_a_saga)]
    async fn refund(&self, charge: Option<&Payment>) -> Result<(), PaymentError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn check(&self, order: Order) -> Result<(), StockError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn book(&self, charge: &Payment) -> Result<Shipment, CourierError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn confirm(&self, book: &Shipment) -> Result<(), MailError> {}
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
        name: "diamond",
        version: 1u32,
        accepts: &[],
        on_failure: ::sagaz::__private::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            ::sagaz::__private::StepDefinition {
                name: "reserve",
                depends_on: &[],
                dependents: &[1, 2],
                kind: ::sagaz::__private::StepKind::Compensatable,
                atomic: true,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagaz::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::Some(::sagaz::__private::CompensationDefinition {
                    name: "release",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: ::sagaz::__private::Retry::COMPENSATION,
                    insists: true,
                }),
                recovery: false,
            },
            ::sagaz::__private::StepDefinition {
                name: "charge",
                depends_on: &[0],
                dependents: &[3],
                kind: ::sagaz::__private::StepKind::Compensatable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(30000u64),
                ),
                retry: ::sagaz::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::Some(::sagaz::__private::CompensationDefinition {
                    name: "refund",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: ::sagaz::__private::Retry::COMPENSATION,
                    insists: false,
                }),
                recovery: false,
            },
            ::sagaz::__private::StepDefinition {
                name: "check",
                depends_on: &[0],
                dependents: &[3],
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
                name: "book",
                depends_on: &[1, 2],
                dependents: &[4],
                kind: ::sagaz::__private::StepKind::Pivot,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagaz::__private::Retry {
                    attempts: ::core::option::Option::Some(8u32),
                    initial: ::core::time::Duration::from_millis(1000u64),
                    max: ::sagaz::__private::at_least(
                        ::sagaz::__private::Retry::BACKOFF.max,
                        ::core::time::Duration::from_millis(1000u64),
                    ),
                    ..::sagaz::__private::Retry::BACKOFF
                },
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: false,
            },
            ::sagaz::__private::StepDefinition {
                name: "confirm",
                depends_on: &[3],
                dependents: &[],
                kind: ::sagaz::__private::StepKind::Retriable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagaz::__private::Retry {
                    attempts: ::core::option::Option::None,
                    ..::sagaz::__private::Retry::BACKOFF
                },
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: false,
            },
        ],
        pivot: ::core::option::Option::Some(3),
    };
    const _: () = DEFINITION.check();
    /// The outputs of all steps.
    pub struct DiamondOutputs {
        ///The output of step `reserve`.
        pub reserve: <Result<
            Hold,
            StockError,
        > as ::sagaz::__private::StepResult>::Output,
        ///The output of step `charge`.
        pub charge: <Result<
            Payment,
            PaymentError,
        > as ::sagaz::__private::StepResult>::Output,
        ///The output of step `check`.
        pub check: <Result<(), StockError> as ::sagaz::__private::StepResult>::Output,
        ///The output of step `book`.
        pub book: <Result<
            Shipment,
            CourierError,
        > as ::sagaz::__private::StepResult>::Output,
        ///The output of step `confirm`.
        pub confirm: <Result<(), MailError> as ::sagaz::__private::StepResult>::Output,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for DiamondOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(DiamondOutputs)).finish_non_exhaustive()
        }
    }
    pub struct DiamondSlots {
        reserve: ::sagaz::__private::OnceLock<
            <Result<Hold, StockError> as ::sagaz::__private::StepResult>::Output,
        >,
        charge: ::sagaz::__private::OnceLock<
            <Result<Payment, PaymentError> as ::sagaz::__private::StepResult>::Output,
        >,
        check: ::sagaz::__private::OnceLock<
            <Result<(), StockError> as ::sagaz::__private::StepResult>::Output,
        >,
        book: ::sagaz::__private::OnceLock<
            <Result<Shipment, CourierError> as ::sagaz::__private::StepResult>::Output,
        >,
        confirm: ::sagaz::__private::OnceLock<
            <Result<(), MailError> as ::sagaz::__private::StepResult>::Output,
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
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        #[diagnostic::on_unimplemented(
            message = "step `reserve` takes `Order` as its input, and the saga's is `Order`",
            label = "not the saga's input",
            note = "`#[saga(input = ..)]` says what a saga is started with"
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
            <Diamond>::reserve(
                saga,
                <&Order as SagazInput0<'_, Order>>::of(scene.input),
            ),
            |slots, result| match <Result<
                Hold,
                StockError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.reserve, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<
                            Hold,
                            StockError,
                        > as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn compensate_release<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        #[diagnostic::on_unimplemented(
            message = "compensation `release` takes `Hold` from `reserve`, which returns `Hold`",
            label = "not what `reserve` returns",
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
            <Diamond>::release(
                saga,
                <&Hold as SagazInput0<
                    '_,
                    <Result<Hold, StockError> as ::sagaz::__private::StepResult>::Output,
                >>::of(
                    ::sagaz::__private::certain(
                        ::sagaz::__private::undone(scene.known, &scene.slots.reserve),
                    ),
                ),
            ),
            |_, result| match <Result<
                (),
                StockError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    ::sagaz::__private::AttemptEnd::Completed
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<(), StockError> as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_charge<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        #[diagnostic::on_unimplemented(
            message = "step `charge` takes `Hold` from `reserve`, which returns `Hold`",
            label = "not what `reserve` returns",
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
        ::sagaz::__private::attempt_within(
            scene,
            <Diamond>::charge(
                saga,
                <&StepContext as ::sagaz::__private::Context<
                    '_,
                >>::from_context(scene.context),
                <&Hold as SagazInput1<
                    '_,
                    <Result<Hold, StockError> as ::sagaz::__private::StepResult>::Output,
                >>::of(::sagaz::__private::stored(&scene.slots.reserve)),
            ),
            |slots, result| match <Result<
                Payment,
                PaymentError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.charge, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<
                            Payment,
                            PaymentError,
                        > as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn compensate_refund<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::charge;
        #[diagnostic::on_unimplemented(
            message = "compensation `refund` takes `Payment` from `charge`, which returns `Payment`",
            label = "not what `charge` returns",
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
        ::sagaz::__private::attempt(
            scene,
            <Diamond>::refund(
                saga,
                <Option<
                    &Payment,
                > as SagazInput0<
                    '_,
                    <Result<
                        Payment,
                        PaymentError,
                    > as ::sagaz::__private::StepResult>::Output,
                >>::of(::sagaz::__private::undone(scene.known, &scene.slots.charge)),
            ),
            |_, result| match <Result<
                (),
                PaymentError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    ::sagaz::__private::AttemptEnd::Completed
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<
                            (),
                            PaymentError,
                        > as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_check<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::reserve;
        #[diagnostic::on_unimplemented(
            message = "step `check` takes `Order` as its input, and the saga's is `Order`",
            label = "not the saga's input",
            note = "`#[saga(input = ..)]` says what a saga is started with"
        )]
        trait SagazInput0<T> {
            type Value;
            fn of(value: &T) -> &Self::Value;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazInput0<T> for T {
            type Value = T;
            fn of(value: &T) -> &T {
                value
            }
        }
        ::sagaz::__private::attempt(
            scene,
            <Diamond>::check(
                saga,
                <<Order as SagazInput0<
                    Order,
                >>::Value as ::sagaz::__private::Owned>::owned(
                    <Order as SagazInput0<Order>>::of(scene.input),
                ),
            ),
            |slots, result| match <Result<
                (),
                StockError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.check, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<(), StockError> as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_book<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::charge;
        let _ = <Diamond>::check;
        #[diagnostic::on_unimplemented(
            message = "step `book` takes `Payment` from `charge`, which returns `Payment`",
            label = "not what `charge` returns",
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
            <Diamond>::book(
                saga,
                <&Payment as SagazInput0<
                    '_,
                    <Result<
                        Payment,
                        PaymentError,
                    > as ::sagaz::__private::StepResult>::Output,
                >>::of(::sagaz::__private::stored(&scene.slots.charge)),
            ),
            |slots, result| match <Result<
                Shipment,
                CourierError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.book, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<
                            Shipment,
                            CourierError,
                        > as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_confirm<'a>(
        saga: &'a Diamond,
        scene: ::sagaz::__private::Scene<'a, Diamond>,
    ) -> ::sagaz::__private::StepFuture<'a> {
        let _ = <Diamond>::book;
        #[diagnostic::on_unimplemented(
            message = "step `confirm` takes `Shipment` from `book`, which returns `Shipment`",
            label = "not what `book` returns",
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
            <Diamond>::confirm(
                saga,
                <&Shipment as SagazInput0<
                    '_,
                    <Result<
                        Shipment,
                        CourierError,
                    > as ::sagaz::__private::StepResult>::Output,
                >>::of(::sagaz::__private::stored(&scene.slots.book)),
            ),
            |slots, result| match <Result<
                (),
                MailError,
            > as ::sagaz::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagaz::__private::keep(&slots.confirm, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagaz::__private::Converted<
                        <Result<(), MailError> as ::sagaz::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagaz::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl ::sagaz::__private::Saga for Diamond {
        type Input = Order;
        type Outputs = DiamondOutputs;
        type Step = DiamondStep;
        type Codec = ::sagaz::__private::Json;
        const DEFINITION: &'static ::sagaz::__private::Definition = &DEFINITION;
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
            scene: ::sagaz::__private::Scene<'a, Self>,
        ) -> ::sagaz::__private::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a Diamond,
                ::sagaz::__private::Scene<'a, Diamond>,
            ) -> ::sagaz::__private::StepFuture<'a>; 5usize] = [
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
            scene: ::sagaz::__private::Scene<'a, Self>,
        ) -> ::sagaz::__private::StepFuture<'a> {
            let _ = scene;
            match step {
                0usize => compensate_release(self, scene),
                1usize => compensate_refund(self, scene),
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
            slots: &DiamondSlots,
            step: usize,
            request: ::sagaz::__private::OutputRequest<'_>,
        ) -> ::core::result::Result<(), ::sagaz::__private::CodecError> {
            match step {
                0usize => {
                    <<Result<
                        Hold,
                        StockError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.reserve, request)
                }
                1usize => {
                    <<Result<
                        Payment,
                        PaymentError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.charge, request)
                }
                2usize => {
                    <<Result<
                        (),
                        StockError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.check, request)
                }
                3usize => {
                    <<Result<
                        Shipment,
                        CourierError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.book, request)
                }
                4usize => {
                    <<Result<
                        (),
                        MailError,
                    > as ::sagaz::__private::StepResult>::Output as ::sagaz::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.confirm, request)
                }
                _ => ::sagaz::__private::no_such_step(step),
            }
        }
        fn outputs(mut slots: DiamondSlots) -> ::core::option::Option<DiamondOutputs> {
            let complete = true && slots.reserve.get().is_some()
                && slots.charge.get().is_some() && slots.check.get().is_some()
                && slots.book.get().is_some() && slots.confirm.get().is_some();
            if complete {
                ::core::option::Option::Some(DiamondOutputs {
                    reserve: ::sagaz::__private::take(&mut slots.reserve),
                    charge: ::sagaz::__private::take(&mut slots.charge),
                    check: ::sagaz::__private::take(&mut slots.check),
                    book: ::sagaz::__private::take(&mut slots.book),
                    confirm: ::sagaz::__private::take(&mut slots.confirm),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<P: ::sagaz::__private::AnyPlace> ::sagaz::__private::RunsOn<P> for Diamond {}
};
