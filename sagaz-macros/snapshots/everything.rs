impl shop::Everything {
    const LIMIT: u64 = 100;
    /// An ordinary method.
    fn allowed(&self, amount: u64) -> bool {
        amount < Self::LIMIT
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[sagas::step(__in_a_saga)]
    async fn validate(&self, http_order: shop::HTTPOrder) -> Result<(), String> {}
    #[instrument(skip_all)]
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn maybe(
        &self,
        _ctx: &StepContext<'_>,
        _validate: &(),
    ) -> Result<Option<u64>, &'static str> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[compensate(__in_a_saga)]
    async fn forget(&self, maybe: Option<Option<u64>>) -> Result<(), StepError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn r#type(&self, order: &shop::HTTPOrder) -> BankResult<Self::Hold> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[compensate(__in_a_saga)]
    async fn untype(
        &self,
        r#type: Option<&Hold>,
        ctx: &StepContext<'_>,
    ) -> BankResult<()> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn charge<'x>(
        &'x self,
        ctx: &'x StepContext<'x>,
        Hold { hold }: &'x Hold,
        mut maybe: Option<u64>,
    ) -> std::io::Result<Payment> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[compensate(__in_a_saga)]
    async fn refund(
        &self,
        charge: Option<Payment>,
        input: shop::HTTPOrder,
        r#type: &Hold,
    ) -> Result<(), StepError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn book(&self) -> Result<HashMap<String, Vec<u8>>, StepError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[step(__in_a_saga)]
    async fn confirm(
        &self,
        validate: &(),
        book: &HashMap<String, Vec<u8>>,
    ) -> Result<Payment, StepError> {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::ptr_arg,
        clippy::trivially_copy_pass_by_ref,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        clippy::unused_self
    )]
    #[recover(__in_a_saga)]
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
    use ::sagas::__private::{
        ViaError as _, ViaIntoStepError as _, ViaItself as _, ViaNothing as _,
    };
    static DEFINITION: ::sagas::__private::Definition = ::sagas::__private::Definition {
        name: "every-thing",
        version: 2u32,
        accepts: &[1u32],
        on_failure: ::sagas::__private::OnFailure::Grace(
            ::core::option::Option::Some(::core::time::Duration::from_millis(10000u64)),
        ),
        deadline: ::core::option::Option::Some(
            ::core::time::Duration::from_millis(3600000u64),
        ),
        steps: &[
            ::sagas::__private::StepDefinition {
                name: "check-order",
                depends_on: &[],
                dependents: &[1, 2],
                kind: ::sagas::__private::StepKind::Compensatable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagas::__private::Retry::NONE,
                limit: ::core::option::Option::Some(20u32),
                compensation: ::core::option::Option::None,
                recovery: false,
            },
            ::sagas::__private::StepDefinition {
                name: "maybe",
                depends_on: &[0],
                dependents: &[3],
                kind: ::sagas::__private::StepKind::Compensatable,
                atomic: true,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagas::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::Some(::sagas::__private::CompensationDefinition {
                    name: "forget",
                    after: &[2],
                    before: &[],
                    timeout: ::core::option::Option::Some(
                        ::core::time::Duration::from_millis(5000u64),
                    ),
                    retry: ::sagas::__private::Retry {
                        attempts: ::core::option::Option::Some(3u32),
                        initial: ::core::time::Duration::from_millis(60000u64),
                        max: ::sagas::__private::at_least(
                            ::sagas::__private::Retry::BACKOFF.max,
                            ::core::time::Duration::from_millis(60000u64),
                        ),
                        factor: 3f64,
                        jitter: 0.1f64,
                        ..::sagas::__private::Retry::BACKOFF
                    },
                    insists: false,
                }),
                recovery: false,
            },
            ::sagas::__private::StepDefinition {
                name: "type",
                depends_on: &[0],
                dependents: &[3],
                kind: ::sagas::__private::StepKind::Compensatable,
                atomic: true,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagas::__private::Retry::NONE,
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::Some(::sagas::__private::CompensationDefinition {
                    name: "untype",
                    after: &[],
                    before: &[1],
                    timeout: ::core::option::Option::None,
                    retry: ::sagas::__private::Retry::COMPENSATION,
                    insists: false,
                }),
                recovery: false,
            },
            ::sagas::__private::StepDefinition {
                name: "charge",
                depends_on: &[1, 2],
                dependents: &[4],
                kind: ::sagas::__private::StepKind::Compensatable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(500u64),
                ),
                retry: ::sagas::__private::Retry {
                    attempts: ::core::option::Option::None,
                    max: ::core::time::Duration::from_millis(120000u64),
                    ..::sagas::__private::Retry::BACKOFF
                },
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::Some(::sagas::__private::CompensationDefinition {
                    name: "refund",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: ::sagas::__private::Retry::COMPENSATION,
                    insists: false,
                }),
                recovery: false,
            },
            ::sagas::__private::StepDefinition {
                name: "book",
                depends_on: &[3],
                dependents: &[5],
                kind: ::sagas::__private::StepKind::Pivot,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagas::__private::Retry {
                    attempts: ::core::option::Option::Some(2u32),
                    ..::sagas::__private::Retry::BACKOFF
                },
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: false,
            },
            ::sagas::__private::StepDefinition {
                name: "confirm",
                depends_on: &[4],
                dependents: &[],
                kind: ::sagas::__private::StepKind::Retriable,
                atomic: false,
                transactional: false,
                timeout: ::core::option::Option::None,
                retry: ::sagas::__private::Retry {
                    attempts: ::core::option::Option::Some(2u32),
                    ..::sagas::__private::Retry::BACKOFF
                },
                limit: ::core::option::Option::None,
                compensation: ::core::option::Option::None,
                recovery: true,
            },
        ],
        pivot: ::core::option::Option::Some(4),
    };
    const _: () = DEFINITION.check();
    /// The outputs of all steps.
    pub struct EverythingOutputs {
        ///The output of step `validate`.
        pub validate: <Result<(), String> as ::sagas::__private::StepResult>::Output,
        ///The output of step `maybe`.
        pub maybe: <Result<
            Option<u64>,
            &'static str,
        > as ::sagas::__private::StepResult>::Output,
        ///The output of step `type`.
        pub r#type: <BankResult<
            shop::Everything::Hold,
        > as ::sagas::__private::StepResult>::Output,
        ///The output of step `charge`.
        pub charge: <std::io::Result<Payment> as ::sagas::__private::StepResult>::Output,
        ///The output of step `book`.
        pub book: <Result<
            HashMap<String, Vec<u8>>,
            StepError,
        > as ::sagas::__private::StepResult>::Output,
        ///The output of step `confirm`.
        pub confirm: <Result<
            Payment,
            StepError,
        > as ::sagas::__private::StepResult>::Output,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for EverythingOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(EverythingOutputs)).finish_non_exhaustive()
        }
    }
    pub struct EverythingSlots {
        validate: ::sagas::__private::OnceLock<
            <Result<(), String> as ::sagas::__private::StepResult>::Output,
        >,
        maybe: ::sagas::__private::OnceLock<
            <Result<Option<u64>, &'static str> as ::sagas::__private::StepResult>::Output,
        >,
        r#type: ::sagas::__private::OnceLock<
            <BankResult<
                shop::Everything::Hold,
            > as ::sagas::__private::StepResult>::Output,
        >,
        charge: ::sagas::__private::OnceLock<
            <std::io::Result<Payment> as ::sagas::__private::StepResult>::Output,
        >,
        book: ::sagas::__private::OnceLock<
            <Result<
                HashMap<String, Vec<u8>>,
                StepError,
            > as ::sagas::__private::StepResult>::Output,
        >,
        confirm: ::sagas::__private::OnceLock<
            <Result<Payment, StepError> as ::sagas::__private::StepResult>::Output,
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
    pub enum EverythingStep {
        ///Step `validate`.
        Validate,
        ///Step `maybe`.
        Maybe,
        ///Step `type`.
        Type,
        ///Step `charge`.
        Charge,
        ///Step `book`.
        Book,
        ///Step `confirm`.
        Confirm,
    }
    #[automatically_derived]
    impl ::core::convert::From<EverythingStep> for &'static str {
        fn from(step: EverythingStep) -> Self {
            match step {
                EverythingStep::Validate => "check-order",
                EverythingStep::Maybe => "maybe",
                EverythingStep::Type => "type",
                EverythingStep::Charge => "charge",
                EverythingStep::Book => "book",
                EverythingStep::Confirm => "confirm",
            }
        }
    }
    fn step_validate<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        #[diagnostic::on_unimplemented(
            message = "step `validate` takes `shop::HTTPOrder` as its input, and the saga's is `shop::HTTPOrder`",
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::validate(
                saga,
                <<shop::HTTPOrder as SagazInput0<
                    shop::HTTPOrder,
                >>::Value as ::sagas::__private::Owned>::owned(
                    <shop::HTTPOrder as SagazInput0<shop::HTTPOrder>>::of(scene.input),
                ),
            ),
            |slots, result| match <Result<
                (),
                String,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.validate, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<(), String> as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_maybe<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::validate;
        #[diagnostic::on_unimplemented(
            message = "step `maybe` takes `()` from `validate`, which returns `()`",
            label = "not what `validate` returns",
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::maybe(
                saga,
                <&StepContext<
                    '_,
                > as ::sagas::__private::Context<'_>>::from_context(scene.context),
                <&() as SagazInput1<
                    '_,
                    <Result<(), String> as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::stored(&scene.slots.validate)),
            ),
            |slots, result| match <Result<
                Option<u64>,
                &'static str,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.maybe, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<
                            Option<u64>,
                            &'static str,
                        > as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn compensate_forget<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::maybe;
        let _ = <shop::Everything>::r#type;
        #[diagnostic::on_unimplemented(
            message = "compensation `forget` takes `Option<u64>` from `maybe`, which returns `Option<u64>`",
            label = "not what `maybe` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput0<T> {
            type Value;
            fn of(
                value: ::core::option::Option<&T>,
            ) -> ::core::option::Option<&Self::Value>;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazInput0<T> for ::core::option::Option<T> {
            type Value = T;
            fn of(value: ::core::option::Option<&T>) -> ::core::option::Option<&T> {
                value
            }
        }
        ::sagas::__private::attempt_within(
            scene,
            <shop::Everything>::forget(
                saga,
                <Option<
                    Option<u64>,
                > as SagazInput0<
                    <Result<
                        Option<u64>,
                        &'static str,
                    > as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::undone(scene.known, &scene.slots.maybe))
                    .map(
                        <<Option<
                            Option<u64>,
                        > as SagazInput0<
                            <Result<
                                Option<u64>,
                                &'static str,
                            > as ::sagas::__private::StepResult>::Output,
                        >>::Value as ::sagas::__private::Owned>::owned,
                    ),
            ),
            |_, result| match <Result<
                (),
                StepError,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    ::sagas::__private::AttemptEnd::Completed
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<(), StepError> as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_type<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::validate;
        #[diagnostic::on_unimplemented(
            message = "step `type` takes `shop::HTTPOrder` as its input, and the saga's is `shop::HTTPOrder`",
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::r#type(
                saga,
                <&shop::HTTPOrder as SagazInput0<'_, shop::HTTPOrder>>::of(scene.input),
            ),
            |slots, result| match <BankResult<
                shop::Everything::Hold,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.r#type, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <BankResult<
                            shop::Everything::Hold,
                        > as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn compensate_untype<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::untype(
                saga,
                <Option<
                    &Hold,
                > as SagazInput0<
                    '_,
                    <BankResult<
                        shop::Everything::Hold,
                    > as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::undone(scene.known, &scene.slots.r#type)),
                <&StepContext<
                    '_,
                > as ::sagas::__private::Context<'_>>::from_context(scene.context),
            ),
            |_, result| match <BankResult<
                (),
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    ::sagas::__private::AttemptEnd::Completed
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <BankResult<()> as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_charge<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
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
        #[diagnostic::on_unimplemented(
            message = "step `charge` takes `Option<u64>` from `maybe`, which returns `Option<u64>`",
            label = "not what `maybe` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput2<T> {
            type Value;
            fn of(value: &T) -> &Self::Value;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazInput2<T> for T {
            type Value = T;
            fn of(value: &T) -> &T {
                value
            }
        }
        ::sagas::__private::attempt_within(
            scene,
            <shop::Everything>::charge(
                saga,
                <&'_ StepContext<
                    '_,
                > as ::sagas::__private::Context<'_>>::from_context(scene.context),
                <&'_ Hold as SagazInput1<
                    '_,
                    <BankResult<
                        shop::Everything::Hold,
                    > as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::stored(&scene.slots.r#type)),
                <<Option<
                    u64,
                > as SagazInput2<
                    <Result<
                        Option<u64>,
                        &'static str,
                    > as ::sagas::__private::StepResult>::Output,
                >>::Value as ::sagas::__private::Owned>::owned(
                    <Option<
                        u64,
                    > as SagazInput2<
                        <Result<
                            Option<u64>,
                            &'static str,
                        > as ::sagas::__private::StepResult>::Output,
                    >>::of(::sagas::__private::stored(&scene.slots.maybe)),
                ),
            ),
            |slots, result| match <std::io::Result<
                Payment,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.charge, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <std::io::Result<
                            Payment,
                        > as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn compensate_refund<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::charge;
        #[diagnostic::on_unimplemented(
            message = "compensation `refund` takes `Payment` from `charge`, which returns `Payment`",
            label = "not what `charge` returns",
            note = "an input is the output of the step that it is named after"
        )]
        trait SagazInput0<T> {
            type Value;
            fn of(
                value: ::core::option::Option<&T>,
            ) -> ::core::option::Option<&Self::Value>;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazInput0<T> for ::core::option::Option<T> {
            type Value = T;
            fn of(value: ::core::option::Option<&T>) -> ::core::option::Option<&T> {
                value
            }
        }
        #[diagnostic::on_unimplemented(
            message = "compensation `refund` takes `shop::HTTPOrder` as its input, and the saga's is `shop::HTTPOrder`",
            label = "not the saga's input",
            note = "`#[saga(input = ..)]` says what a saga is started with"
        )]
        trait SagazInput1<T> {
            type Value;
            fn of(value: &T) -> &Self::Value;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazInput1<T> for T {
            type Value = T;
            fn of(value: &T) -> &T {
                value
            }
        }
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::refund(
                saga,
                <Option<
                    Payment,
                > as SagazInput0<
                    <std::io::Result<Payment> as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::undone(scene.known, &scene.slots.charge))
                    .map(
                        <<Option<
                            Payment,
                        > as SagazInput0<
                            <std::io::Result<
                                Payment,
                            > as ::sagas::__private::StepResult>::Output,
                        >>::Value as ::sagas::__private::Owned>::owned,
                    ),
                <<shop::HTTPOrder as SagazInput1<
                    shop::HTTPOrder,
                >>::Value as ::sagas::__private::Owned>::owned(
                    <shop::HTTPOrder as SagazInput1<shop::HTTPOrder>>::of(scene.input),
                ),
                <&Hold as SagazInput2<
                    '_,
                    <BankResult<
                        shop::Everything::Hold,
                    > as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::stored(&scene.slots.r#type)),
            ),
            |_, result| match <Result<
                (),
                StepError,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    ::sagas::__private::AttemptEnd::Completed
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<(), StepError> as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_book<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::charge;
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::book(saga),
            |slots, result| match <Result<
                HashMap<String, Vec<u8>>,
                StepError,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.book, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<
                            HashMap<String, Vec<u8>>,
                            StepError,
                        > as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn step_confirm<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
    ) -> ::sagas::__private::StepFuture<'a> {
        let _ = <shop::Everything>::book;
        #[diagnostic::on_unimplemented(
            message = "step `confirm` takes `()` from `validate`, which returns `()`",
            label = "not what `validate` returns",
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
        #[diagnostic::on_unimplemented(
            message = "step `confirm` takes `HashMap<String, Vec<u8>>` from `book`, which returns `HashMap<String, Vec<u8>>`",
            label = "not what `book` returns",
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
        ::sagas::__private::attempt(
            scene,
            <shop::Everything>::confirm(
                saga,
                <&() as SagazInput0<
                    '_,
                    <Result<(), String> as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::stored(&scene.slots.validate)),
                <&HashMap<
                    String,
                    Vec<u8>,
                > as SagazInput1<
                    '_,
                    <Result<
                        HashMap<String, Vec<u8>>,
                        StepError,
                    > as ::sagas::__private::StepResult>::Output,
                >>::of(::sagas::__private::stored(&scene.slots.book)),
            ),
            |slots, result| match <Result<
                Payment,
                StepError,
            > as ::sagas::__private::StepResult>::split(result) {
                ::core::result::Result::Ok(output) => {
                    ::sagas::__private::keep(&slots.confirm, output)
                }
                ::core::result::Result::Err(error) => {
                    <_ as ::sagas::__private::Converted<
                        <Result<
                            Payment,
                            StepError,
                        > as ::sagas::__private::StepResult>::Error,
                    >>::failed(
                        (&&&&::sagas::__private::Kind::of(&error)).sagaz_convert(error),
                    )
                }
            },
        )
    }
    fn recover_give_up<'a>(
        saga: &'a shop::Everything,
        scene: ::sagas::__private::Scene<'a, shop::Everything>,
        error: ::sagas::__private::Arc<::sagas::__private::StepError>,
    ) -> ::sagas::__private::RecoverFuture<'a> {
        let _ = <shop::Everything>::confirm;
        #[diagnostic::on_unimplemented(
            message = "recovery `give_up` takes `Payment` from `charge`, which returns `Payment`",
            label = "not what `charge` returns",
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
        #[diagnostic::on_unimplemented(
            message = "the recovery of `confirm` gives `Payment`, and `confirm` returns `Payment`",
            label = "not what `confirm` returns",
            note = "a recovery returns `Recover` of what its step returns"
        )]
        trait SagazRecovery<T> {
            fn end(
                self,
                slot: &::sagas::__private::OnceLock<T>,
            ) -> ::sagas::__private::RecoverEnd;
        }
        #[diagnostic::do_not_recommend]
        impl<T> SagazRecovery<T> for ::sagas::__private::Recover<T> {
            fn end(
                self,
                slot: &::sagas::__private::OnceLock<T>,
            ) -> ::sagas::__private::RecoverEnd {
                ::sagas::__private::recovered(self, slot)
            }
        }
        ::sagas::__private::recovery(async move {
            let error = error;
            let result = <shop::Everything>::give_up(
                    saga,
                    <&StepError as ::sagas::__private::ErrorInput<
                        '_,
                    >>::from_error(&*error),
                    <&Payment as SagazInput1<
                        '_,
                        <std::io::Result<
                            Payment,
                        > as ::sagas::__private::StepResult>::Output,
                    >>::of(::sagas::__private::stored(&scene.slots.charge)),
                    <&StepContext<
                        '_,
                    > as ::sagas::__private::Context<'_>>::from_context(scene.context),
                )
                .await;
            <Recover<
                Payment,
            > as SagazRecovery<
                <Result<Payment, StepError> as ::sagas::__private::StepResult>::Output,
            >>::end(result, &scene.slots.confirm)
        })
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl ::sagas::__private::Saga for shop::Everything {
        type Input = shop::HTTPOrder;
        type Outputs = EverythingOutputs;
        type Step = EverythingStep;
        type Codec = Text;
        const DEFINITION: &'static ::sagas::__private::Definition = &DEFINITION;
        type Slots = EverythingSlots;
        type PerStep<T: ::core::marker::Send> = [T; 6usize];
        fn per_step<T: ::core::marker::Send>(
            &self,
            make: impl ::core::ops::FnMut(usize) -> T,
        ) -> [T; 6usize] {
            ::core::array::from_fn(make)
        }
        fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(
            &self,
            value: T,
        ) -> [T; 6usize] {
            [value; 6usize]
        }
        fn slots(&self) -> EverythingSlots {
            EverythingSlots {
                validate: ::core::default::Default::default(),
                maybe: ::core::default::Default::default(),
                r#type: ::core::default::Default::default(),
                charge: ::core::default::Default::default(),
                book: ::core::default::Default::default(),
                confirm: ::core::default::Default::default(),
            }
        }
        fn step<'a>(
            &'a self,
            step: usize,
            scene: ::sagas::__private::Scene<'a, Self>,
        ) -> ::sagas::__private::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a shop::Everything,
                ::sagas::__private::Scene<'a, shop::Everything>,
            ) -> ::sagas::__private::StepFuture<'a>; 6usize] = [
                step_validate,
                step_maybe,
                step_type,
                step_charge,
                step_book,
                step_confirm,
            ];
            STEPS[step](self, scene)
        }
        fn compensate<'a>(
            &'a self,
            step: usize,
            scene: ::sagas::__private::Scene<'a, Self>,
        ) -> ::sagas::__private::StepFuture<'a> {
            let _ = scene;
            match step {
                1usize => compensate_forget(self, scene),
                2usize => compensate_untype(self, scene),
                3usize => compensate_refund(self, scene),
                _ => ::sagas::__private::no_such_step(step),
            }
        }
        fn recover<'a>(
            &'a self,
            step: usize,
            scene: ::sagas::__private::Scene<'a, Self>,
            error: ::sagas::__private::Arc<::sagas::__private::StepError>,
        ) -> ::sagas::__private::RecoverFuture<'a> {
            let _ = (scene, &error);
            match step {
                5usize => recover_give_up(self, scene, error),
                _ => ::sagas::__private::no_such_step(step),
            }
        }
        fn output(
            &self,
            slots: &EverythingSlots,
            step: usize,
            request: ::sagas::__private::OutputRequest<'_>,
        ) -> ::core::result::Result<(), ::sagas::__private::CodecError> {
            match step {
                0usize => {
                    <<Result<
                        (),
                        String,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.validate, request)
                }
                1usize => {
                    <<Result<
                        Option<u64>,
                        &'static str,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.maybe, request)
                }
                2usize => {
                    <<BankResult<
                        shop::Everything::Hold,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.r#type, request)
                }
                3usize => {
                    <<std::io::Result<
                        Payment,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.charge, request)
                }
                4usize => {
                    <<Result<
                        HashMap<String, Vec<u8>>,
                        StepError,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.book, request)
                }
                5usize => {
                    <<Result<
                        Payment,
                        StepError,
                    > as ::sagas::__private::StepResult>::Output as ::sagas::__private::StepOutput>::answer::<
                        Self,
                    >(&slots.confirm, request)
                }
                _ => ::sagas::__private::no_such_step(step),
            }
        }
        fn outputs(
            mut slots: EverythingSlots,
        ) -> ::core::option::Option<EverythingOutputs> {
            let complete = true && slots.validate.get().is_some()
                && slots.maybe.get().is_some() && slots.r#type.get().is_some()
                && slots.charge.get().is_some() && slots.book.get().is_some()
                && slots.confirm.get().is_some();
            if complete {
                ::core::option::Option::Some(EverythingOutputs {
                    validate: ::sagas::__private::take(&mut slots.validate),
                    maybe: ::sagas::__private::take(&mut slots.maybe),
                    r#type: ::sagas::__private::take(&mut slots.r#type),
                    charge: ::sagas::__private::take(&mut slots.charge),
                    book: ::sagas::__private::take(&mut slots.book),
                    confirm: ::sagas::__private::take(&mut slots.confirm),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl<P: ::sagas::__private::AnyPlace> ::sagas::__private::RunsOn<P>
    for shop::Everything {}
};
