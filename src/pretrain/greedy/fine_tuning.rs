//! [`LayerRate`]: how fast a layer learns once the whole network does.

/// How fast a layer learns in fine-tuning, and from when: plain data, from which each layer's optimizer takes its learning
/// rate and its step.
///
/// # Examples
/// Learning rates that fall by 2.6 a layer towards the input, the lowest layer frozen, and one more layer thawing every
/// 100 steps:
/// ```
/// use steadygrad::optim::{Adam, Gradients, Optimizer};
/// use steadygrad::pretrain::LayerRate;
///
/// let mut rates = [LayerRate::default(); 4];
/// LayerRate::discriminate(&mut rates, 1.0 / 2.6);
/// LayerRate::unfreeze(&mut rates, 100);
/// rates[0] = LayerRate::FROZEN;
/// assert_eq!(rates[3], LayerRate { factor: 1.0, from_step: 1 });
/// assert_eq!(rates[2], LayerRate { factor: 1.0 / 2.6, from_step: 101 });
/// assert_eq!(rates[1].from_step, 201);
///
/// // In the loop over steps, from 1:
/// let (step, lr) = (150, 0.01);
/// let mut thawed = Vec::new();
/// for (layer, rate) in rates.iter().enumerate() {
///     let Some((step, lr)) = rate.at(step, lr) else { continue };
///     let adam = Adam { lr, ..Adam::default() };
///     # let (mut w, mut m, mut v) = ([0.0_f32], [0.0], [0.0]);
///     # let mut params = [&mut w[..]];
///     # let grads = [&[1.0][..]];
///     # let (first, second): (&mut [&mut [f32]], &mut [&mut [f32]]) = (&mut [&mut m], &mut [&mut v]);
///     # let mut state = [first, second];
///     adam.step(step, &mut params, Gradients::new(&grads), &mut state)?; // those of this layer
///     thawed.push((layer, step));
/// }
/// assert_eq!(thawed, [(2, 50), (3, 150)]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRate {
    /// The learning rate is multiplied by this; 1 by default, and 0 keeps the layer as it is.
    pub factor: f64,
    /// The first step, from 1, in which the layer learns; 1 by default.
    pub from_step: u64,
}

impl Default for LayerRate {
    fn default() -> Self {
        Self { factor: 1.0, from_step: 1 }
    }
}

impl LayerRate {
    /// A layer that does not learn.
    pub const FROZEN: Self = Self { factor: 0.0, from_step: 1 };

    /// The step of the layer's own optimizer, from 1, and its learning rate; `None` where it is frozen, so that neither
    /// its weights nor the optimizer's state move.
    #[must_use]
    pub fn at(self, step: u64, lr: f64) -> Option<(u64, f64)> {
        let frozen = self.factor == 0.0 || step < self.from_step;
        (!frozen).then(|| (step - self.from_step.max(1) + 1, lr * self.factor))
    }

    /// Multiplies the factor of each layer by `decay` once for each layer above it: Howard & Ruder take 1/2.6.
    pub fn discriminate(rates: &mut [Self], decay: f64) {
        let mut factor = 1.0;
        for rate in rates.iter_mut().rev() {
            rate.factor *= factor;
            factor *= decay;
        }
    }

    /// The last layer learns from the first step on, each one below it `steps` later than the one above.
    pub fn unfreeze(rates: &mut [Self], steps: u64) {
        let mut from_step: u64 = 1;
        for rate in rates.iter_mut().rev() {
            rate.from_step = from_step;
            from_step = from_step.saturating_add(steps);
        }
    }
}
