//! Marks: places that a campaign of simulations must reach, or it proves less than it seems to.
//!
//! A mark is reached in a run, counted over a campaign, and reported as coverage.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    /// The marks of the run on this thread.
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Marks that a simulation was here. Does nothing outside of simulations but remember the name.
///
/// ```
/// # let stale = true;
/// use peerloom_sim::sometimes;
/// // A campaign reports how many of its runs had this.
/// sometimes!(stale, "a reader with a stale checkpoint");
/// ```
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::marks::reach($name)
    };
    ($condition:expr, $name:literal) => {
        if $condition {
            $crate::marks::reach($name)
        }
    };
}

/// Notes that a mark was reached. Called by [`sometimes!`](crate::sometimes).
pub fn reach(name: &'static str) {
    REACHED.with_borrow_mut(|reached| reached.insert(name));
}

/// The marks reached on this thread since the last call, in order.
pub(crate) fn take() -> Vec<String> {
    REACHED.take().into_iter().map(str::to_owned).collect()
}
