//! Whether clients left evenly over a drain: how many in each tenth of it, against what chance would allow.

use std::time::Duration;

/// A tenth of the drain may have so many standard deviations more or fewer than a tenth of the clients.
///
/// Were each moment drawn by itself, evenly over the drain, a tenth would have n/10 clients with a deviation of
/// √(n · 0.1 · 0.9), and one tenth in 1.7 million would be farther from it than five of these.
pub(super) const SIGMAS_MAX: f64 = 5.0;

/// Of all clients at most this share may leave when the drain should be over: who waits to be told good-bye is told at the
/// next of the gateway's steps of a quarter of a second, and a machine that is busy is late.
const AFTER_SHARE_MAX: f64 = 0.05;

/// How many left when.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    /// In each tenth of the drain.
    pub(super) tenths: [u64; 10],
    /// Later than that.
    pub(super) after: u64,
}

impl Spread {
    /// Of moments since the beginning of a drain of this length.
    pub(super) fn of(moments: impl Iterator<Item = Duration>, drain: Duration) -> Self {
        let mut spread = Self::default();
        for moment in moments {
            let tenth = moment.as_secs_f64() / drain.as_secs_f64().max(f64::MIN_POSITIVE) * 10.0;
            match spread.tenths.get_mut(tenth as usize) {
                Some(count) => *count += 1,
                None => spread.after += 1,
            }
        }
        spread
    }

    fn clients(&self) -> f64 {
        (self.tenths.iter().sum::<u64>() + self.after) as f64
    }

    /// What chance makes of a tenth.
    fn deviation(&self) -> f64 {
        (self.clients() * 0.1 * 0.9).sqrt()
    }

    /// How far the farthest tenth is from an even share, in standard deviations.
    pub(super) fn sigmas(&self) -> f64 {
        let share = self.clients() / 10.0;
        let farthest = self.tenths.iter().map(|count| (*count as f64 - share).abs()).fold(0.0, f64::max);
        if share > 0.0 { farthest / self.deviation() } else { 0.0 }
    }

    /// Whether it is even, as far as chance and steps allow, and that clients stood still for a `stalled` part of the drain
    /// through no fault of the gateway's: those who would have left then are in the next tenth.
    pub(super) fn is_even(&self, stalled: f64) -> bool {
        let (late, chance) = (stalled * self.clients(), SIGMAS_MAX * self.deviation());
        let after_max = (AFTER_SHARE_MAX * self.clients()).max(chance) + late;
        self.sigmas() * self.deviation() <= chance + late && self.after as f64 <= after_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(15);

    fn spread(moment: impl Fn(u32) -> f64) -> Spread {
        Spread::of((0..3_333).map(|number| DRAIN.mul_f64(moment(number))), DRAIN)
    }

    #[test]
    fn an_even_spread_passes_and_others_do_not() {
        let even = spread(|number| f64::from(number) / 3_333.0);
        assert!(even.is_even(0.0) && even.after == 0 && even.sigmas() < 0.1, "{even:?}");
        let mut rng = fastrand::Rng::with_seed(1);
        let moments: Vec<f64> = (0..3_333).map(|_| rng.f64()).collect();
        let drawn = spread(|number| moments[number as usize]);
        assert!(drawn.is_even(0.0), "{drawn:?}");
        for uneven in [
            spread(|_| 0.0),
            spread(|_| 1.5),
            spread(|number| f64::from(number) / 3_333.0 * 1.1),
            spread(|number| (f64::from(number) / 3_333.0).powi(2)),
        ] {
            assert!(!uneven.is_even(0.0), "{uneven:?}");
        }
        let late = spread(|number| f64::from(number) / 3_333.0 * 1.04);
        assert!(late.is_even(0.0) && late.after > 100, "a twentieth may be late: {late:?}");
        let stalled = spread(|number| if number < 667 { 0.2 } else { f64::from(number) / 3_333.0 });
        assert!(!stalled.is_even(0.0) && stalled.is_even(0.2), "all stood still at first: {stalled:?}");
        assert!(Spread::of(std::iter::empty(), DRAIN).is_even(0.0));
    }
}
