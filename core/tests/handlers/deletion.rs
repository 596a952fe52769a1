use peerloom_core::*;
use serde_json::json;

use crate::replicas::{value, write};

#[test]
fn the_policy_holds_whichever_came_last() {
    let base = write(&FieldWise, 1, None, Some(json!({ "a": 1, "b": 1 })));
    for (removal, edit) in [(2, 3), (3, 2)] {
        let removed = write(&FieldWise, removal, Some(&base.state), None);
        let edited = write(&FieldWise, edit, Some(&base.state), Some(json!({ "a": edit, "b": 1 })));
        let other = write(&FieldWise, 4, Some(&base.state), Some(json!({ "a": 1, "b": 4 })));
        let mut heads = vec![removed, edited];
        heads.sort_by_key(|head| head.dot.canonical());
        assert_eq!(value(&DeleteWins::new(FieldWise).resolve(&heads)), None);
        assert_eq!(value(&EditWins::new(FieldWise).resolve(&heads)), Some(json!({ "a": edit, "b": 1 })));
        heads.push(other);
        assert_eq!(value(&DeleteWins::new(FieldWise).resolve(&heads)), None);
        assert_eq!(value(&EditWins::new(FieldWise).resolve(&heads)), Some(json!({ "a": edit, "b": 4 })));
    }
}

#[test]
fn what_everybody_deleted_is_deleted_and_what_nobody_did_is_left_to_the_handler() {
    let removed = [1, 2].map(|dot| write(&FieldWise, dot, None, None));
    assert_eq!(value(&DeleteWins::new(FieldWise).resolve(&removed)), None);
    assert_eq!(value(&EditWins::new(FieldWise).resolve(&removed)), None);
    let edited = [1, 2].map(|dot| write(&FieldWise, dot, None, Some(json!({ dot.to_string(): dot }))));
    assert_eq!(value(&DeleteWins::new(FieldWise).resolve(&edited)), Some(json!({ "1": 1, "2": 2 })));
    assert_eq!(value(&EditWins::new(FieldWise).resolve(&edited)), Some(json!({ "1": 1, "2": 2 })));
}

#[test]
fn writing_on_top_of_a_deleted_view_brings_the_document_back() {
    let handler = DeleteWins::new(FieldWise);
    let base = write(&handler, 1, None, Some(json!({ "a": 1 })));
    let removed = write(&handler, 2, Some(&base.state), None);
    let edited = write(&handler, 3, Some(&base.state), Some(json!({ "a": 3 })));
    let revived = write(&handler, 4, Some(&handler.resolve(&[removed, edited])), Some(json!({ "b": 4 })));
    let other = write(&handler, 5, Some(&base.state), Some(json!({ "a": 5 })));
    assert_eq!(value(&handler.resolve(&[revived, other])), Some(json!({ "a": 5, "b": 4 })));
}
