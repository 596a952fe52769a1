//! The promises of [`Transport`] and its connections, each a function that panics if it is broken.
//!
//! Sending and receiving always go on side by side, because a transport may take a message only when the
//! other end receives.

use std::future::Future;

use peerloom_core::Transport;

mod ending;
mod meeting;
mod messages;
mod sample;
mod waiting;

pub use ending::*;
pub use meeting::*;
pub use messages::*;
pub use waiting::*;

use crate::Promise;

/// A network of its own, on which nothing breaks.
///
/// It is used within a tokio runtime, and dropped after all that was connected over it.
///
/// ```
/// use peerloom_conformance::TransportFixture;
/// use peerloom_in_process::{InProcess, Network};
///
/// struct Calm(Network);
///
/// impl TransportFixture for Calm {
///     type Adapter = InProcess;
///
///     async fn fresh() -> Self {
///         Self(Network::new())
///     }
///
///     fn transport(&self) -> InProcess {
///         InProcess::new(&self.0)
///     }
/// }
///
/// peerloom_conformance::transport_tests!(Calm);
/// ```
pub trait TransportFixture: Sized + 'static {
    /// The adapter under test.
    type Adapter: Transport;

    /// A network that nobody has joined and that no other fixture shares. Servers that it takes are up when
    /// this returns.
    fn fresh() -> impl Future<Output = Self>;

    /// The adapter of another device on this network, able to join topics.
    fn transport(&self) -> Self::Adapter;
}

/// Every promise of the transport contract, on this fixture.
pub fn promises<F: TransportFixture>() -> impl ExactSizeIterator<Item = Promise> {
    crate::__transport_promises!(__table transport F).into_iter()
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_promises {
    ($then:ident $suite:ident $fixture:ty) => {
        $crate::$then! { $suite $fixture;
            two_members_of_a_topic_are_connected_once
            each_pair_of_many_members_is_connected_once
            an_accept_that_waits_gets_who_joins_later
            topics_are_kept_apart
            each_member_has_an_address_of_its_own
            a_membership_outlives_its_transport
            connections_outlive_their_memberships
            who_left_is_connected_to_nobody
            who_joins_again_is_connected_again
            a_closed_connection_is_made_again_by_redialing
            redialing_an_open_connection_does_nothing
            redialing_who_is_not_there_does_nothing
            dropping_an_accept_loses_no_connection
            a_channel_binding_is_alike_at_both_ends_and_nowhere_else

            messages_arrive_in_order_and_each_once
            a_message_of_any_size_arrives_as_it_was_sent
            a_connection_carries_messages_of_the_least_size
            a_message_too_large_is_refused_and_harms_nothing
            an_empty_message_is_refused_and_harms_nothing

            sending_waits_while_the_other_end_does_not_receive
            one_direction_does_not_wait_for_the_other
            one_connection_does_not_wait_for_another
            dropping_a_receive_loses_no_message
            a_dropped_send_sends_its_message_once_or_not_at_all

            what_was_taken_before_closing_arrives
            closing_ends_both_ends
            closing_twice_is_fine
            dropping_the_sender_closes_the_connection
            dropping_the_receiver_closes_the_connection
            a_send_that_waits_ends_with_the_connection
            a_receive_that_waits_ends_with_the_connection
            closing_a_connection_leaves_the_others
        }
    };
}
