//! The transport tests, tested: each fault in an adapter breaks the promises that it should, and no other.

use std::time::Duration;

mod broken;
mod broken_transport;

use broken::{Mutation, assert_caught};
use broken_transport::*;
use peerloom_conformance::Promise;
use peerloom_conformance::transport::promises;

/// Takes no time: the clock is paused, and goes on when everybody waits.
const TIME_MAX: Duration = Duration::from_secs(3600);

fn check(promise: &Promise) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let kept =
        runtime.expect("a runtime").block_on(async { tokio::time::timeout(TIME_MAX, promise.story()).await });
    kept.expect("it ends");
}

/// Each fault, and the promises that it breaks: first the one that it is about, then those that cannot be
/// kept with it.
macro_rules! table {
    ($($fault:ident => $($promise:ident)+;)*) => {
        [$(Mutation {
            fault: stringify!($fault),
            break_adapters: break_with::<$fault>,
            breaks: vec![$(stringify!($promise)),+],
        }),*]
    };
}

#[test]
fn each_fault_in_an_adapter_breaks_its_promise_and_no_other() {
    assert_caught(
        &promises::<Broken>().collect::<Vec<_>>(),
        check,
        table! {
            Nothing => nothing;
            ConnectsTwice => two_members_of_a_topic_are_connected_once
                each_pair_of_many_members_is_connected_once a_closed_connection_is_made_again_by_redialing
                redialing_an_open_connection_does_nothing redialing_who_is_not_there_does_nothing
                a_channel_binding_is_alike_at_both_ends_and_nowhere_else
                one_connection_does_not_wait_for_another closing_a_connection_leaves_the_others;
            ConnectsThreeAtMost => each_pair_of_many_members_is_connected_once;
            WakesNobody => an_accept_that_waits_gets_who_joins_later;
            IgnoresCaseInTopics => topics_are_kept_apart;
            GivesAllOneAddress => each_member_has_an_address_of_its_own
                a_closed_connection_is_made_again_by_redialing
                a_channel_binding_is_alike_at_both_ends_and_nowhere_else
                dropping_an_accept_loses_no_connection;
            LeavesWithItsTransport => a_membership_outlives_its_transport;
            ClosesOnLeaving => connections_outlive_their_memberships;
            NeverLeaves => who_left_is_connected_to_nobody redialing_who_is_not_there_does_nothing;
            AnnouncesNobodyAfterALeave => who_joins_again_is_connected_again
                redialing_who_is_not_there_does_nothing who_left_is_connected_to_nobody;
            NeverRedials => a_closed_connection_is_made_again_by_redialing
                a_channel_binding_is_alike_at_both_ends_and_nowhere_else;
            ReplacesAnOpenConnection => redialing_an_open_connection_does_nothing;
            FailsOnRedialingAStranger => redialing_who_is_not_there_does_nothing;
            LosesTheConnectionOfADroppedAccept => dropping_an_accept_loses_no_connection;
            BindsAllAlike => a_channel_binding_is_alike_at_both_ends_and_nowhere_else;
            Reorders => messages_arrive_in_order_and_each_once what_was_taken_before_closing_arrives;
            CutsLargeMessages => a_message_of_any_size_arrives_as_it_was_sent;
            CarriesLittle => a_connection_carries_messages_of_the_least_size
                a_message_too_large_is_refused_and_harms_nothing;
            ClosesOnALargeMessage => a_message_too_large_is_refused_and_harms_nothing;
            PassesOverEmptyMessages => an_empty_message_is_refused_and_harms_nothing;
            QueuesWithoutBound => sending_waits_while_the_other_end_does_not_receive;
            ReceivesNothingWhileASendWaits => one_direction_does_not_wait_for_the_other;
            SendsToOneAtATime => one_connection_does_not_wait_for_another
                one_direction_does_not_wait_for_the_other;
            LosesTheMessageOfADroppedReceive => dropping_a_receive_loses_no_message;
            SendsADroppedMessageTwice => a_dropped_send_sends_its_message_once_or_not_at_all;
            LosesOnClosing => what_was_taken_before_closing_arrives;
            IgnoresClosing => closing_ends_both_ends a_channel_binding_is_alike_at_both_ends_and_nowhere_else
                a_closed_connection_is_made_again_by_redialing a_receive_that_waits_ends_with_the_connection
                a_send_that_waits_ends_with_the_connection closing_a_connection_leaves_the_others
                closing_twice_is_fine what_was_taken_before_closing_arrives;
            TakesMessagesAfterClosing => closing_ends_both_ends
                a_channel_binding_is_alike_at_both_ends_and_nowhere_else
                a_closed_connection_is_made_again_by_redialing closing_twice_is_fine
                what_was_taken_before_closing_arrives;
            PanicsOnClosingTwice => closing_twice_is_fine;
            LivesOnWithoutItsSender => dropping_the_sender_closes_the_connection;
            LivesOnWithoutItsReceiver => dropping_the_receiver_closes_the_connection
                a_send_that_waits_ends_with_the_connection;
            ForgetsASendThatWaits => a_send_that_waits_ends_with_the_connection;
            ForgetsAReceiveThatWaits => a_receive_that_waits_ends_with_the_connection;
            ClosesAllTogether => closing_a_connection_leaves_the_others;
        },
    );
}
