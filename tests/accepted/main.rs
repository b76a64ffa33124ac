//! Sagas without a mistake, of which the compiler says nothing: whatever they deny, they are clean. `tests/ui` has those with one.

mod emitting;
// Public, so that the lints of what others see look at what `#[saga]` makes.
pub mod everything;
mod odd_but_right;
mod order_processing;
mod transactional;
