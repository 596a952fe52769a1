//! The promises of [`Storage`] and [`Store`](peerloom_core::Store), each a function that panics if it is
//! broken.
//!
//! Each begins with a fresh place, and commits documents one by one unless batches are what it is about, so
//! that one fault breaks few promises.

use peerloom_core::Storage;

mod bodies;
mod commits;
mod feed;
mod ids;
mod lifetime;
mod metadata;
mod order;
mod sample;

pub use bodies::*;
pub use commits::*;
pub use feed::*;
pub use ids::*;
pub use lifetime::*;
pub use metadata::*;
pub use order::*;

use crate::Promise;

/// A place for an adapter to keep its stores: a directory, a database, a part of the memory.
///
/// It is used within a tokio runtime, and dropped after all that was opened in it. See the [`crate`] for
/// an example.
pub trait StorageFixture: Sized + 'static {
    /// The adapter under test.
    type Adapter: Storage;

    /// A place that holds nothing yet and that no other fixture shares.
    fn fresh() -> Self;

    /// The adapter, on this place. Called again and again, also while stores are open, as by a second
    /// program.
    fn storage(&self) -> Self::Adapter;
}

/// Every promise of the storage contract, on this fixture.
pub fn promises<F: StorageFixture>() -> impl ExactSizeIterator<Item = Promise> {
    crate::__storage_promises!(__table storage F).into_iter()
}

#[doc(hidden)]
#[macro_export]
macro_rules! __storage_promises {
    ($then:ident $suite:ident $fixture:ty) => {
        $crate::$then! { $suite $fixture;
            a_commit_shows_every_record_in_it
            a_commit_shows_all_metadata_in_it
            an_empty_batch_changes_nothing
            a_commit_survives_closing
            a_commit_survives_dropping_the_store
            a_reader_sees_a_commit_whole_or_not_at_all
            a_dropped_commit_is_applied_whole_before_later_operations_or_not_at_all

            operations_take_effect_in_the_order_of_their_calls
            a_read_sees_every_commit_that_returned_before_it
            a_read_sees_no_commit_that_was_called_after_it
            dropping_a_read_harms_nothing
            many_callers_are_served_at_once

            a_document_is_in_the_feed_once_at_its_latest_commit
            a_record_may_keep_the_sequence_it_replaces
            the_feed_begins_after_the_sequence_asked_for
            the_feed_is_in_the_order_of_sequences
            a_page_ends_at_its_number_of_documents
            a_page_ends_before_the_record_that_exceeds_its_bytes
            a_page_holds_a_record_larger_than_its_bytes
            pages_of_the_feed_follow_each_other_without_gap

            a_read_answers_each_id_in_the_order_asked
            a_list_is_in_the_order_of_the_bytes_of_ids
            a_list_holds_the_ids_within_its_bounds
            a_list_by_prefix_holds_the_ids_with_that_prefix
            ids_that_begin_alike_are_different_documents
            any_characters_may_be_in_an_id
            ids_of_the_greatest_length_are_kept_apart

            every_part_of_a_record_comes_back
            a_large_body_comes_back_whole
            an_empty_body_is_not_a_missing_one
            bodies_are_any_bytes

            metadata_is_found_by_its_prefix
            metadata_is_found_after_a_key
            metadata_ends_at_the_number_of_entries_asked_for
            metadata_keys_may_hold_any_bytes
            metadata_is_overwritten
            metadata_is_removed
            a_large_value_comes_back_whole
            an_empty_value_is_not_a_missing_one
            metadata_and_documents_share_no_keys

            stores_of_different_names_share_nothing
            a_second_opening_is_refused_while_a_handle_is_open
            a_closed_store_can_be_opened_again
            closing_again_closes_no_later_opening
            dropping_the_last_handle_closes_the_store
            a_dropped_opening_lets_go_of_the_store
            a_dropped_close_can_be_made_good
            what_is_called_before_closing_takes_effect
            a_closed_store_refuses_everything
            a_deleted_store_is_empty_when_opened_again
            an_open_store_is_not_deleted
            deleting_what_is_not_there_is_fine
            deleting_a_store_leaves_the_others
        }
    };
}
