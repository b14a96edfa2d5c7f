//! Rooms whose sizes follow Zipf's law: the k-th largest has a part of the members in proportion to k^-s.

/// The place of a room, 0 for the largest, out of `ranks`, from 64 drawn bits.
///
/// The law's sum is replaced by the integral of x^-s from 1/2 to `ranks` + 1/2, whose inverse has a closed form: no
/// table, so a client's room is computed wherever it is needed. The largest room has a tenth more than by the sum.
pub(super) fn rank(drawn: u64, ranks: u32, exponent: f64) -> u32 {
    // 53 bits fill a float between 0 and 1.
    let part = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    let (first, last) = (0.5, f64::from(ranks) + 0.5);
    let one_less = 1.0 - exponent;
    let x = if one_less.abs() < 1e-9 {
        first * (last / first).powf(part)
    } else {
        let (low, high) = (f64::powf(first, one_less), last.powf(one_less));
        (low + part * (high - low)).powf(one_less.recip())
    };
    (x.round() as u32).clamp(1, ranks) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::mix;

    #[test]
    fn sizes_fall_by_the_law() {
        for exponent in [0.5, 1.0, 1.5] {
            let mut sizes = [0_u32; 100];
            (0..200_000).for_each(|number| sizes[rank(mix(number), 100, exponent) as usize] += 1);
            for (small, large) in [(1, 3), (3, 7), (7, 31)] {
                let wanted = ((large + 1) as f64 / (small + 1) as f64).powf(exponent);
                let seen = f64::from(sizes[small]) / f64::from(sizes[large]);
                assert!((seen / wanted - 1.0).abs() < 0.2, "{exponent}: {seen} instead of {wanted}");
            }
        }
        assert_eq!((rank(0, 1, 1.0), rank(u64::MAX, 1, 1.0), rank(u64::MAX, 7, 1.0)), (0, 0, 6));
    }
}
