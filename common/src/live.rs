//! A value that a running node is told anew: read by many without a lock, replaced as a whole.
//!
//! For settings: whoever reads one sees all of one moment, and what is replaced lives until the last reader has let go.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that may be replaced.
pub struct Live<T>(ArcSwap<T>);

impl<T> Live<T> {
    /// With this value at first.
    pub fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// As it is now. For a look: what is kept for longer, or over an await, is taken with [`Live::keep`].
    pub fn now(&self) -> impl Deref<Target = Arc<T>> + use<'_, T> {
        self.0.load()
    }

    /// As it is now, to hold on to.
    pub fn keep(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Puts another in its place.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_an_old_value_keeps_it_and_others_see_the_new_one() {
        let live = Live::new((1, 1));
        let old = live.keep();
        live.set((2, 2));
        assert_eq!((*old, **live.now()), ((1, 1), (2, 2)));
    }
}
