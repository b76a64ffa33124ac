//! Real work in virtual time.

use std::sync::mpsc;

/// Awaits what takes real time, such as a call of a database, while virtual time stands still.
///
/// In virtual time a runtime that has nothing to do moves its clock to the next timer. While it waits for another thread or for the
/// network that looks like having nothing to do, and every timeout would fire at once. Needs a runtime with one thread, as
/// `#[tokio::test(start_paused = true)]` and a [`CrashMatrix`](crate::CrashMatrix) have.
pub async fn outside<T>(work: impl Future<Output = T>) -> T {
    let (end, ended) = mpsc::channel::<()>();
    // Virtual time stands still while a blocking task runs; this one ends when `end` is dropped, also with this future.
    let guard = tokio::task::spawn_blocking(move || ended.recv());
    let result = work.await;
    drop(end);
    // It has nothing to say.
    let _ = guard.await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{hint::black_box, thread, time::Duration};
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn virtual_time_stands_still_while_another_thread_works() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let worker = thread::spawn(move || {
            // Real work: a clock that is free to move would have moved long before its end.
            let worked = (0..5_000_000_u64).fold(0, |sum, it| black_box(sum ^ it));
            send.send(black_box(worked))
        });
        let began = Instant::now();
        let received = timeout(Duration::from_hours(1), outside(receive)).await;
        assert!(matches!(received, Ok(Ok(_))), "{received:?}");
        assert_eq!(began.elapsed(), Duration::ZERO);
        worker.join().unwrap().unwrap();
    }
}
