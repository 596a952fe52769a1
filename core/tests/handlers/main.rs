//! The conflict handlers, each against a model of what its writers meant, over histories of real documents.

mod algebra;
mod counter;
mod deletion;
mod field_wise;
mod hostile;
mod merge_with;
mod per_field;
mod replicas;
mod union;
