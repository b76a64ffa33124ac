//! Nothing: this package is its tests. They run sagas on the real engine in virtual time, with crashes, lost replies, takeovers
//! and cancels, and have the checker of `model/` say whether what happened is a behaviour of the model.
