impl Bank {
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
    async fn debit(
        &self,
        transfer: &Transfer,
        tx: &mut shop::Transaction<'_, Db>,
    ) -> Result<i64, BankError> {}
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
    async fn give_back(
        &self,
        tx: &mut shop::Transaction<'_, Db>,
        debit: &i64,
    ) -> Result<(), BankError> {}
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
    async fn credit(&self, ctx: &StepContext<'_>, debit: &i64) -> Result<(), BankError> {}
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
    async fn take_back(
        &self,
        ctx: &StepContext<'_>,
        credit: Option<&()>,
    ) -> Result<(), BankError> {}
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
    async fn close(&self, _tx: &mut Transaction<Db>) -> Result<(), BankError> {}
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
        name: "bank",
        version: 1u32,
        accepts: &[],
        on_failure: __sagaz::OnFailure::Grace(::core::option::Option::None),
        deadline: ::core::option::Option::None,
        steps: &[
            __sagaz::StepDefinition {
                name: "debit",
                depends_on: &[],
                dependents: &[1],
                kind: __sagaz::StepKind::Compensatable,
                transactional: true,
                timeout: ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(5000u64),
                ),
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "give_back",
                    after: &[],
                    before: &[],
                    timeout: ::core::option::Option::None,
                    retry: __sagaz::Retry::COMPENSATION,
                    insists: true,
                    transactional: true,
                }),
                ..__sagaz::StepDefinition::PLAIN
            },
            __sagaz::StepDefinition {
                name: "credit",
                depends_on: &[0],
                dependents: &[2],
                kind: __sagaz::StepKind::Compensatable,
                compensation: ::core::option::Option::Some(__sagaz::CompensationDefinition {
                    name: "take_back",
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
                name: "close",
                depends_on: &[1],
                dependents: &[],
                kind: __sagaz::StepKind::Pivot,
                transactional: true,
                ..__sagaz::StepDefinition::PLAIN
            },
        ],
        pivot: ::core::option::Option::Some(2),
    };
    const _: () = DEFINITION.check();
    use ::sagaz::__private as __sagaz;
    type __Result0 = Result<i64, BankError>;
    type __Output0 = <__Result0 as __sagaz::StepResult>::Output;
    type __Result1 = Result<(), BankError>;
    type __Output1 = <__Result1 as __sagaz::StepResult>::Output;
    type __Result2 = Result<(), BankError>;
    type __Output2 = <__Result2 as __sagaz::StepResult>::Output;
    /// The outputs of all steps.
    pub struct BankOutputs {
        ///The output of step `debit`.
        pub debit: __Output0,
        ///The output of step `credit`.
        pub credit: __Output1,
        ///The output of step `close`.
        pub close: __Output2,
    }
    /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
    #[automatically_derived]
    impl ::core::fmt::Debug for BankOutputs {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct(::core::stringify!(BankOutputs)).finish_non_exhaustive()
        }
    }
    pub struct BankSlots {
        debit: __sagaz::OnceLock<__Output0>,
        credit: __sagaz::OnceLock<__Output1>,
        close: __sagaz::OnceLock<__Output2>,
    }
    /// The steps.
    #[derive(
        ::core::clone::Clone,
        ::core::marker::Copy,
        ::core::fmt::Debug,
        ::core::cmp::PartialEq,
        ::core::cmp::Eq,
    )]
    pub enum BankStep {
        ///Step `debit`.
        Debit,
        ///Step `credit`.
        Credit,
        ///Step `close`.
        Close,
    }
    #[automatically_derived]
    impl ::core::convert::From<BankStep> for &'static str {
        fn from(step: BankStep) -> Self {
            match step {
                BankStep::Debit => "debit",
                BankStep::Credit => "credit",
                BankStep::Close => "close",
            }
        }
    }
    fn __key_of_debit(output: &__Output0) -> __sagaz::String {
        let _ = (output,);
        <_ as __sagaz::EventKey>::text(&(output))
    }
    fn step_debit<'a>(
        saga: &'a Bank,
        scene: __sagaz::Scene<'a, Bank>,
    ) -> __sagaz::StepFuture<'a> {
        __sagaz::attempt_in(
            scene,
            async move {
                let mut tx = __sagaz::transaction::<
                    shop::Transaction<'static, Db>,
                    Bank,
                >(scene);
                let result = <Bank>::debit(
                        saga,
                        <&Transfer as __sagaz::Taken<'_, Transfer>>::taken(scene.input),
                        &mut tx,
                    )
                    .await;
                (tx, result)
            },
            move |(tx, result)| __sagaz::prepared_publishing::<
                __Result0,
            >(
                tx,
                result,
                |output| {
                    __sagaz::Emitter {
                        saga: saga,
                        slots: scene.slots,
                        context: scene.context,
                        event_type: "debited",
                        key: ::core::option::Option::Some(__key_of_debit(output)),
                    }
                        .prepared(output)
                },
                |error| <_ as __sagaz::Converted<
                    <__Result0 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn __key_of_undone_debit(transfer: &Transfer) -> __sagaz::String {
        let _ = (transfer,);
        <_ as __sagaz::EventKey>::text(&(transfer.from))
    }
    fn compensate_give_back<'a>(
        saga: &'a Bank,
        scene: __sagaz::Scene<'a, Bank>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Bank>::debit;
        __sagaz::attempt_in(
            scene,
            async move {
                let mut tx = __sagaz::transaction::<
                    shop::Transaction<'static, Db>,
                    Bank,
                >(scene);
                let result = <Bank>::give_back(
                        saga,
                        &mut tx,
                        <&i64 as __sagaz::Taken<
                            '_,
                            __Output0,
                        >>::taken(
                            __sagaz::certain(
                                __sagaz::undone(scene.known, &scene.slots.debit),
                            ),
                        ),
                    )
                    .await;
                (tx, result)
            },
            move |(tx, result)| match <Result<
                (),
                BankError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => {
                    __sagaz::prepared_undo_publishing(
                        tx,
                        __sagaz::Emitter {
                            saga: saga,
                            slots: scene.slots,
                            context: scene.context,
                            event_type: "given.back",
                            key: ::core::option::Option::Some(
                                __key_of_undone_debit(scene.input),
                            ),
                        }
                            .undone(scene.known),
                    )
                }
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), BankError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn step_credit<'a>(
        saga: &'a Bank,
        scene: __sagaz::Scene<'a, Bank>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Bank>::debit;
        __sagaz::attempt(
            scene,
            <Bank>::credit(
                saga,
                <&StepContext<'_> as __sagaz::Context<'_>>::from_context(scene.context),
                <&i64 as __sagaz::Taken<'_, __Output0>>::stored(&scene.slots.debit),
            ),
            |slots, result| __sagaz::ended::<
                __Result1,
            >(
                result,
                &slots.credit,
                |error| <_ as __sagaz::Converted<
                    <__Result1 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    fn compensate_take_back<'a>(
        saga: &'a Bank,
        scene: __sagaz::Scene<'a, Bank>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Bank>::credit;
        __sagaz::attempt(
            scene,
            <Bank>::take_back(
                saga,
                <&StepContext<'_> as __sagaz::Context<'_>>::from_context(scene.context),
                <Option<
                    &(),
                > as __sagaz::MaybeTaken<
                    '_,
                    __Output1,
                >>::taken(__sagaz::undone(scene.known, &scene.slots.credit)),
            ),
            |_, result| match <Result<
                (),
                BankError,
            > as __sagaz::StepResult>::split(result) {
                ::core::result::Result::Ok(_) => __sagaz::AttemptEnd::Completed,
                ::core::result::Result::Err(error) => {
                    <_ as __sagaz::Converted<
                        <Result<(), BankError> as __sagaz::StepResult>::Error,
                    >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error))
                }
            },
        )
    }
    fn step_close<'a>(
        saga: &'a Bank,
        scene: __sagaz::Scene<'a, Bank>,
    ) -> __sagaz::StepFuture<'a> {
        let _ = <Bank>::credit;
        __sagaz::attempt_in(
            scene,
            async move {
                let mut tx = __sagaz::transaction::<
                    shop::Transaction<'static, Db>,
                    Bank,
                >(scene);
                let result = <Bank>::close(saga, &mut tx).await;
                (tx, result)
            },
            move |(tx, result)| __sagaz::prepared::<
                __Result2,
            >(
                tx,
                result,
                |error| <_ as __sagaz::Converted<
                    <__Result2 as __sagaz::StepResult>::Error,
                >>::failed((&&&&__sagaz::Kind::of(&error)).sagaz_convert(error)),
            ),
        )
    }
    #[automatically_derived]
    #[diagnostic::do_not_recommend]
    impl __sagaz::Saga for Bank {
        type Input = Transfer;
        type Outputs = BankOutputs;
        type Step = BankStep;
        type Codec = __sagaz::Json;
        const DEFINITION: &'static __sagaz::Definition = &DEFINITION;
        type Slots = BankSlots;
        type PerStep<T: ::core::marker::Send> = [T; 3usize];
        fn per_step<T: ::core::marker::Send>(
            &self,
            make: impl ::core::ops::FnMut(usize) -> T,
        ) -> [T; 3usize] {
            ::core::array::from_fn(make)
        }
        fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(
            &self,
            value: T,
        ) -> [T; 3usize] {
            [value; 3usize]
        }
        fn slots(&self) -> BankSlots {
            BankSlots {
                debit: ::core::default::Default::default(),
                credit: ::core::default::Default::default(),
                close: ::core::default::Default::default(),
            }
        }
        fn step<'a>(
            &'a self,
            step: usize,
            scene: __sagaz::Scene<'a, Self>,
        ) -> __sagaz::StepFuture<'a> {
            static STEPS: [for<'a> fn(
                &'a Bank,
                __sagaz::Scene<'a, Bank>,
            ) -> __sagaz::StepFuture<'a>; 3usize] = [
                step_debit,
                step_credit,
                step_close,
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
                0usize => compensate_give_back(self, scene),
                1usize => compensate_take_back(self, scene),
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
            slots: &BankSlots,
            step: usize,
            request: __sagaz::OutputRequest<'_>,
        ) -> ::core::result::Result<(), __sagaz::CodecError> {
            match step {
                0usize => {
                    <__Output0 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.debit, request)
                }
                1usize => {
                    <__Output1 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.credit, request)
                }
                2usize => {
                    <__Output2 as __sagaz::StepOutput>::answer::<
                        Self,
                    >(&slots.close, request)
                }
                _ => __sagaz::no_such_step(step),
            }
        }
        fn outputs(mut slots: BankSlots) -> ::core::option::Option<BankOutputs> {
            let complete = true && slots.debit.get().is_some()
                && slots.credit.get().is_some() && slots.close.get().is_some();
            if complete {
                ::core::option::Option::Some(BankOutputs {
                    debit: __sagaz::take(&mut slots.debit),
                    credit: __sagaz::take(&mut slots.credit),
                    close: __sagaz::take(&mut slots.close),
                })
            } else {
                ::core::option::Option::None
            }
        }
    }
    #[diagnostic::on_unimplemented(
        message = "the steps of `Bank` write in `shop::Transaction<Db>`, and this engine's store is `{Self}`",
        label = "not the store of this saga"
    )]
    pub trait BankStore: __sagaz::Transacts<shop::Transaction<'static, Db>> {}
    #[diagnostic::do_not_recommend]
    impl<__S: __sagaz::Transacts<shop::Transaction<'static, Db>>> BankStore for __S {}
    #[automatically_derived]
    impl<Store: BankStore> __sagaz::RunsOn<Store> for Bank {
        fn transactor() -> ::core::option::Option<
            &'static dyn __sagaz::Transactor<Store>,
        > {
            ::core::option::Option::Some(
                &__sagaz::Via::<shop::Transaction<'static, Db>>(__sagaz::PhantomData),
            )
        }
    }
};
