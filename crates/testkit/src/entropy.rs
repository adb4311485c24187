//! Randomness from a seed: SHA-256 of the seed and a counter.

use std::sync::Mutex;

use accredit_domain::ports::Entropy;
use accredit_wire::crypto::sha256_of;

/// The same bytes for the same seed, in the order in which they are asked for.
pub struct SeededEntropy(Mutex<Chance>);

impl SeededEntropy {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Chance::new(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().expect("no thread panics while it draws").fill(bytes);
    }
}

/// What a test decides by: dice from a seed.
pub struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = sha256_of(&[&self.seed.to_be_bytes(), &self.drawn.to_be_bytes()]);
            self.drawn += 1;
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes);
        (u64::from_be_bytes(bytes) % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }
}
