//! The storage tests, tested: each fault in an adapter breaks the promises that it should, and no other.

use std::time::Duration;

mod broken;
mod broken_storage;

use broken::{Mutation, assert_caught};
use broken_storage::*;
use peerloom_conformance::Promise;
use peerloom_conformance::storage::promises;

/// Far longer than a promise takes on an adapter in memory, and how long one takes that waits for ever.
const TIME_MAX: Duration = Duration::from_secs(20);

fn check(promise: &Promise) {
    promise.check_within(TIME_MAX);
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
            LosesTheLastRecord => a_commit_shows_every_record_in_it a_record_may_keep_the_sequence_it_replaces
                a_reader_sees_a_commit_whole_or_not_at_all
                a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all;
            LosesMetadataBesideRecords => a_commit_shows_all_metadata_in_it
                a_reader_sees_a_commit_whole_or_not_at_all
                a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all;
            RefusesAnEmptyBatch => an_empty_batch_changes_nothing;
            ForgetsMetadataOnClosing => a_commit_survives_closing;
            ForgetsMetadataOnDropping => a_commit_survives_dropping_the_store;
            AppliesOneRecordAfterTheOther => a_reader_sees_a_commit_whole_or_not_at_all;
            AppliesHalfOfADroppedCommit =>
                a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all;
            AppliesADroppedCommitLate =>
                a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all;
            CommitsOutOfTurn => operations_take_effect_in_the_order_of_their_calls
                what_is_called_before_closing_takes_effect;
            ReadsOutOfTurn => a_read_sees_no_commit_that_was_called_after_it
                operations_take_effect_in_the_order_of_their_calls;
            ListsFromACache => a_read_sees_every_commit_that_returned_before_it;
            StaysBusyAfterADroppedRead => dropping_a_read_harms_nothing;
            RefusesManyCallers => many_callers_are_served_at_once;
            KeepsTheOldFeedEntry => a_document_is_in_the_feed_once_at_its_latest_commit
                a_commit_survives_closing a_commit_survives_dropping_the_store
                a_reader_sees_a_commit_whole_or_not_at_all operations_take_effect_in_the_order_of_their_calls
                a_read_sees_every_commit_that_returned_before_it
                a_read_sees_no_commit_that_was_called_after_it;
            RemovesTheReplacedEntryLast => a_record_may_keep_the_sequence_it_replaces;
            BeginsAtTheSequence => the_feed_begins_after_the_sequence_asked_for
                a_page_holds_a_record_larger_than_its_bytes pages_of_the_feed_follow_each_other_without_gap
                dropping_a_read_harms_nothing many_callers_are_served_at_once;
            OrdersSequencesAsLittleEndian => the_feed_is_in_the_order_of_sequences;
            IgnoresDocumentsMax => a_page_ends_at_its_number_of_documents many_callers_are_served_at_once;
            IgnoresBytesMax => a_page_ends_before_the_record_that_exceeds_its_bytes
                a_page_holds_a_record_larger_than_its_bytes;
            HoldsNoLargeRecord => a_page_holds_a_record_larger_than_its_bytes;
            SkipsTheRecordThatDoesNotFit => pages_of_the_feed_follow_each_other_without_gap
                a_page_holds_a_record_larger_than_its_bytes;
            AnswersEachIdOnce => a_read_answers_each_id_in_the_order_asked;
            OrdersIdsAsUtf16 => a_list_is_in_the_order_of_the_bytes_of_ids;
            IncludesAnExcludedEnd => a_list_holds_the_ids_within_its_bounds;
            TruncatesBounds => a_list_by_prefix_holds_the_ids_with_that_prefix;
            DropsByteOrderMarks => ids_that_begin_alike_are_different_documents;
            ComposesCharacters => any_characters_may_be_in_an_id;
            TruncatesIds => ids_of_the_greatest_length_are_kept_apart;
            KeepsTheContextOfHeadsOnly => every_part_of_a_record_comes_back;
            TruncatesLargeBodies => a_large_body_comes_back_whole;
            TakesAnEmptyViewForNone => an_empty_body_is_not_a_missing_one;
            KeepsBodiesAsText => bodies_are_any_bytes a_large_body_comes_back_whole;
            EndsThePrefixOneTooLate => metadata_is_found_by_its_prefix metadata_is_found_after_a_key
                metadata_ends_at_the_number_of_entries_asked_for metadata_keys_may_hold_any_bytes;
            FindsNothingByTheHighestByte => metadata_keys_may_hold_any_bytes;
            BeginsAtTheKey => metadata_is_found_after_a_key metadata_keys_may_hold_any_bytes
                metadata_ends_at_the_number_of_entries_asked_for;
            IgnoresEntriesMax => metadata_ends_at_the_number_of_entries_asked_for;
            KeepsTheFirstValue => metadata_is_overwritten a_read_sees_every_commit_that_returned_before_it;
            RemovesOnlyWhatIsThere => metadata_is_removed;
            TruncatesValues => a_large_value_comes_back_whole;
            RemovesWhatIsEmpty => an_empty_value_is_not_a_missing_one;
            RemovesDocumentsWithMetadata => metadata_and_documents_share_no_keys;
            IgnoresCaseInNames => stores_of_different_names_share_nothing;
            OpensTwice => a_second_opening_is_refused_while_a_handle_is_open;
            StaysLockedUntilDropped => a_closed_store_can_be_opened_again a_closed_store_refuses_everything
                closing_again_closes_no_later_opening a_dropped_close_can_be_made_good
                a_large_body_comes_back_whole an_empty_body_is_not_a_missing_one bodies_are_any_bytes
                every_part_of_a_record_comes_back a_deleted_store_is_empty_when_opened_again
                what_is_called_before_closing_takes_effect;
            ClosesLaterOpenings => closing_again_closes_no_later_opening;
            StaysOpenWhenDropped => dropping_the_last_handle_closes_the_store
                a_commit_survives_dropping_the_store an_open_store_is_not_deleted
                a_dropped_opening_lets_go_of_the_store stores_of_different_names_share_nothing
                deleting_a_store_leaves_the_others a_dropped_close_can_be_made_good;
            HoldsAfterADroppedOpening => a_dropped_opening_lets_go_of_the_store;
            ClosesOnce => a_dropped_close_can_be_made_good;
            AppliesHalfWhenClosed => a_closed_store_refuses_everything;
            KeepsMetadataOfTheDeleted => a_deleted_store_is_empty_when_opened_again;
            SaysThatTheOpenIsDeleted => an_open_store_is_not_deleted;
            DeletesOnlyWhatIsThere => deleting_what_is_not_there_is_fine;
            DeletesAllThatBeginsAlike => deleting_a_store_leaves_the_others;
        },
    );
}
