//! How the director gives orders to a host: what belongs to a host is made and dropped on it, because `turmoil` ties streams to the host
//! that runs when they are used.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The orders to a host that it has not yet taken.
pub(super) struct Desk<Order> {
    orders: Arc<Mutex<VecDeque<Order>>>,
    given: Arc<Notify>,
}

impl<Order> Default for Desk<Order> {
    fn default() -> Self {
        Self { orders: Arc::default(), given: Arc::default() }
    }
}

impl<Order> Clone for Desk<Order> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), given: self.given.clone() }
    }
}

impl<Order> Desk<Order> {
    pub(super) fn give(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.given.notify_one();
    }

    pub(super) async fn next(&self) -> Order {
        loop {
            let order = self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match order {
                Some(order) => return order,
                None => self.given.notified().await,
            }
        }
    }
}
