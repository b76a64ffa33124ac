//! Sagas whose steps do nothing: what is left to measure is the library. The same four shapes are timed (`in_process`) and counted in
//! instructions (`benches/instructions`).

use sagaz::{StepContext, compensate, saga, step};
use std::hint::black_box;

pub(crate) type PlainResult<T = ()> = Result<T, std::convert::Infallible>;

pub(crate) struct Three;

#[saga]
impl Three {
    #[step(no_compensation)]
    async fn a(&self) -> PlainResult {
        Ok(())
    }
    #[step(no_compensation, depends_on = [a])]
    async fn b(&self) -> PlainResult {
        Ok(())
    }
    #[step(no_compensation, depends_on = [b])]
    async fn c(&self) -> PlainResult {
        Ok(())
    }
}

pub(crate) struct Failing;

#[saga]
impl Failing {
    #[step(atomic)]
    async fn a(&self) -> PlainResult<u64> {
        Ok(1)
    }
    #[compensate(a)]
    async fn undo_a(&self, a: &u64) -> PlainResult {
        black_box(a);
        Ok(())
    }
    #[step(atomic, depends_on = [a])]
    async fn b(&self) -> PlainResult<u64> {
        Ok(2)
    }
    #[compensate(b)]
    async fn undo_b(&self, ctx: &StepContext<'_>, b: &u64) -> PlainResult {
        black_box((ctx.attempt(), b));
        Ok(())
    }
    #[step(atomic, depends_on = [b])]
    async fn c(&self) -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }
}

/// Numbered steps in a row, each after the one before it.
macro_rules! chain {
    ($name:ident: $first:ident $(, $step:ident after $before:ident)*) => {
        pub(crate) struct $name;

        #[saga]
        impl $name {
            #[step(no_compensation)]
            async fn $first(&self) -> PlainResult {
                Ok(())
            }
            $(
                #[step(no_compensation, depends_on = [$before])]
                async fn $step(&self) -> PlainResult {
                    Ok(())
                }
            )*
        }
    };
}

chain!(Hundred: s0, s1 after s0, s2 after s1, s3 after s2, s4 after s3, s5 after s4, s6 after s5
   , s7 after s6, s8 after s7, s9 after s8, s10 after s9, s11 after s10, s12 after s11
   , s13 after s12, s14 after s13, s15 after s14, s16 after s15, s17 after s16, s18 after s17
   , s19 after s18, s20 after s19, s21 after s20, s22 after s21, s23 after s22, s24 after s23
   , s25 after s24, s26 after s25, s27 after s26, s28 after s27, s29 after s28, s30 after s29
   , s31 after s30, s32 after s31, s33 after s32, s34 after s33, s35 after s34, s36 after s35
   , s37 after s36, s38 after s37, s39 after s38, s40 after s39, s41 after s40, s42 after s41
   , s43 after s42, s44 after s43, s45 after s44, s46 after s45, s47 after s46, s48 after s47
   , s49 after s48, s50 after s49, s51 after s50, s52 after s51, s53 after s52, s54 after s53
   , s55 after s54, s56 after s55, s57 after s56, s58 after s57, s59 after s58, s60 after s59
   , s61 after s60, s62 after s61, s63 after s62, s64 after s63, s65 after s64, s66 after s65
   , s67 after s66, s68 after s67, s69 after s68, s70 after s69, s71 after s70, s72 after s71
   , s73 after s72, s74 after s73, s75 after s74, s76 after s75, s77 after s76, s78 after s77
   , s79 after s78, s80 after s79, s81 after s80, s82 after s81, s83 after s82, s84 after s83
   , s85 after s84, s86 after s85, s87 after s86, s88 after s87, s89 after s88, s90 after s89
   , s91 after s90, s92 after s91, s93 after s92, s94 after s93, s95 after s94, s96 after s95
   , s97 after s96, s98 after s97, s99 after s98);

pub(crate) struct Diamond;

#[saga]
impl Diamond {
    #[step(no_compensation)]
    async fn first(&self) -> PlainResult<u64> {
        Ok(1)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f0(&self, first: &u64) -> PlainResult<u64> {
        Ok(*first)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f1(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 1)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f2(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 2)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f3(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 3)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f4(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 4)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f5(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 5)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f6(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 6)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn f7(&self, first: &u64) -> PlainResult<u64> {
        Ok(first + 7)
    }
    #[step(no_compensation, depends_on = [f0, f1, f2, f3, f4, f5, f6, f7])]
    async fn last(&self) -> PlainResult {
        Ok(())
    }
}
