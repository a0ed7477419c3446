//! Handwritten digits, 8×8 pixels each, split into a part to learn from and a part to be tested on.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// One digit a line: its class, a space, and 64 pixels as characters from 0 to g.
const TEXT: &str = include_str!("../data/digits.txt");

/// Pixels of an image.
pub(crate) const PIXELS: usize = 64;
/// Digits.
pub(crate) const CLASSES: usize = 10;

/// Images and what they show.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) images: Vec<f32>,
    pub(crate) classes: Vec<i64>,
}

pub(crate) struct Digits {
    pub(crate) train: Samples,
    pub(crate) test: Samples,
}

impl Digits {
    /// Four fifths to learn from, shuffled by the seed; pixels have mean 0 and deviation 1 over those.
    pub(crate) fn load(seed: u64) -> Self {
        let mut lines: Vec<&str> = TEXT.lines().collect();
        lines.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (train, test) = lines.split_at(lines.len() * 4 / 5);
        let (mut train, mut test) = (Samples::parse(train), Samples::parse(test));
        let count = train.images.len() as f32;
        let mean = train.images.iter().sum::<f32>() / count;
        let deviation = (train.images.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
        for x in train.images.iter_mut().chain(&mut test.images) {
            *x = (*x - mean) / deviation;
        }
        Self { train, test }
    }
}

impl Samples {
    fn parse(lines: &[&str]) -> Self {
        let mut samples = Self::default();
        for line in lines {
            let (class, pixels) = line.split_once(' ').expect("a class and its pixels");
            samples.classes.push(class.parse().expect("a digit"));
            samples.images.extend(pixels.chars().map(|c| c.to_digit(17).expect("0 to g") as f32));
        }
        samples
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }
}
