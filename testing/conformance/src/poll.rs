//! Futures that are polled a few times and then dropped, as a `select!` does it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

/// Polls once. `None` if the future waits.
pub(crate) async fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Polls all until all are done: for the first time in their order, and from then on in the reverse order.
pub(crate) async fn join_all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut calls: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    let mut called = false;
    poll_fn(|context| {
        let mut advance = |(future, output): &mut (Pin<Box<dyn Future<Output = T> + '_>>, Option<T>)| {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        };
        match called {
            false => calls.iter_mut().for_each(&mut advance),
            true => calls.iter_mut().rev().for_each(&mut advance),
        }
        called = true;
        match calls.iter().all(|(_, output)| output.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, output)| output).collect()
}

/// Gives a future more or less time, depending on the attempt, and drops it if it has not finished then.
pub(crate) async fn attempt<T>(attempt: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match attempt % 4 {
        0 => {
            let output = poll_once(&mut future).await;
            tokio::task::yield_now().await;
            output
        }
        // More from time to time, for adapters to which all of these are short.
        _ if attempt.is_multiple_of(63) => timeout(Duration::from_millis(100), future).await.ok(),
        some => timeout(Duration::from_millis(some), future).await.ok(),
    }
}
