//! The generator of the weights: `SplitMix64` (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", 2014), and a bell curve made of integers only.

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for `purpose`, so that one part can change without moving the others.
    pub(super) fn fork(&self, purpose: &str) -> Self {
        let mut child = Self(self.0);
        for byte in purpose.bytes() {
            child.0 = child.next() ^ u64::from(byte);
        }
        child
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly between 0 and 1, in steps of 2^-24.
    pub(super) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Nearly normal, mean 0 and deviation 1: the sum of the four 16-bit quarters of one draw.
    pub(super) fn normal(&mut self) -> f32 {
        // The deviation of the sum of four even draws from 0..65536: sqrt(4 / 12) * 65536.
        const DEVIATION: f32 = 37_837.23;
        let draw = self.next();
        let sum: u32 = (0..4).map(|quarter| (draw >> (16 * quarter)) as u32 & 0xffff).sum();
        (sum as f32 - 131_070.0) / DEVIATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_mean_zero_and_deviation_one() {
        let mut random = Random::new(7);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal())).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn forks_differ_and_repeat() {
        let draw = |purpose: &str| Random::new(7).fork(purpose).next();
        assert_eq!(draw("weights"), draw("weights"));
        assert_ne!(draw("weights"), draw("pictures"));
    }
}
