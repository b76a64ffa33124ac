//! Clients of librdkafka say good-bye to their brokers when they are dropped, and block until that is done.

use std::{ops::Deref, thread};

/// Dropped on a thread of its own.
pub(super) struct Background<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Background<T> {
    pub(super) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Background<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Background<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without another thread it is dropped here.
        let _ = thread::Builder::new()
            .name("kafka goodbye".to_owned())
            .spawn(move || drop(client));
    }
}
