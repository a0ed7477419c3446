//! The maps and sums over a tile of channels.

use crate::Element;
use crate::activation::kernel::Rectifier;
use crate::simd::{self, Isa, Kernel, MatrixMut, STRIP, Slots, Store, Tile, Vector};

/// What normalises a strip: `y = (x − shift)·scale + offset`, with the mean as a shift and what that lost, in offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizing<T>(pub(super) [[T; STRIP]; 3]);

impl<T: Element> Normalizing<T> {
    /// By channel: shift, scale and offset.
    fn coefficients(&self) -> [&[T; STRIP]; 3] {
        self.0.each_ref()
    }

    pub(super) fn new() -> Self {
        Self([[T::zero(); STRIP]; 3])
    }

    /// Sets channel `channel` to `y = (x − mean)·scale + beta`.
    pub(super) fn set(&mut self, channel: usize, mean: f64, scale: f64, beta: f64) {
        let shift = T::from_f64(mean);
        let lost = mean - shift.to_f64();
        // Where nothing was lost, an infinite scale must not make it NaN.
        let offset = if lost == 0.0 { beta } else { beta - lost * scale };
        for (coefficients, value) in self.0.iter_mut().zip([shift, T::from_f64(scale), T::from_f64(offset)]) {
            coefficients[channel] = value;
        }
    }
}

/// `(x − shift)·scale + offset`.
#[inline(always)]
fn normalized<V: Vector>(x: V, [shift, scale, offset]: [V; 3]) -> V {
    (x - shift).mul_add(scale, offset)
}

/// `y = f((x − shift)·scale + offset)`.
pub(super) struct Normalize<'a, T> {
    pub(super) inner: usize,
    pub(super) by: &'a Normalizing<T>,
    pub(super) rectifier: Rectifier<T>,
    /// Whether x has left L2 since it was read.
    pub(super) from_memory: bool,
    pub(super) x: Tile<'a, T>,
    pub(super) y: MatrixMut<'a, T>,
    pub(super) store: Store,
}

impl<T: Element> Kernel for Normalize<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { inner, by, rectifier, from_memory, x, y, store } = self;
        simd::map_channels(
            isa,
            inner,
            ([x], [from_memory]),
            by.coefficients(),
            ([y], store),
            #[inline(always)]
            |[x], by| [rectifier.value(normalized(x, by))],
        );
    }
}

/// `y = f((x − shift)·scale + offset + residual)`.
pub(super) struct NormalizeAdd<'a, T> {
    pub(super) inner: usize,
    pub(super) by: &'a Normalizing<T>,
    pub(super) rectifier: Rectifier<T>,
    /// Whether x has left L2 since it was read.
    pub(super) from_memory: bool,
    pub(super) x: Tile<'a, T>,
    pub(super) residual: Tile<'a, T>,
    pub(super) y: MatrixMut<'a, T>,
    pub(super) store: Store,
}

impl<T: Element> Kernel for NormalizeAdd<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { inner, by, rectifier, from_memory, x, residual, y, store } = self;
        simd::map_channels(
            isa,
            inner,
            ([x, residual], [from_memory, true]),
            by.coefficients(),
            ([y], store),
            #[inline(always)]
            |[x, residual], by| [rectifier.value(normalized(x, by) + residual)],
        );
    }
}

/// How the gradient dz of the norm's output comes out of dy, while both are in registers. Its `N` tiles begin with x
/// and dy; of zeros it makes 0.
pub(super) trait Gate<T: Element, const N: usize>: Copy {
    /// dz, given what normalises the channel.
    fn gradient<V: Vector<Elem = T>>(self, tiles: [V; N], by: [V; 3]) -> V;
}

/// dz = dy.
#[derive(Clone, Copy)]
pub(super) struct Open;

impl<T: Element> Gate<T, 2> for Open {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [_, dy]: [V; 2], _by: [V; 3]) -> V {
        dy
    }
}

/// Through an activation of the norm's output, which is computed anew from x.
#[derive(Clone, Copy)]
pub(super) struct FromInput<T>(pub(super) Rectifier<T>);

impl<T: Element> Gate<T, 2> for FromInput<T> {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [x, dy]: [V; 2], by: [V; 3]) -> V {
        self.0.gradient(normalized(x, by), dy)
    }
}

/// Through an activation whose output is the third tile.
#[derive(Clone, Copy)]
pub(super) struct FromOutput<T>(pub(super) Rectifier<T>);

impl<T: Element> Gate<T, 3> for FromOutput<T> {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [_, dy, y]: [V; 3], _by: [V; 3]) -> V {
        self.0.gradient(y, dy)
    }
}

/// A gate with the tiles that it reads, and what normalises them.
#[derive(Clone, Copy)]
pub(super) struct Gated<'a, T, G, const N: usize> {
    pub(super) inner: usize,
    pub(super) by: &'a Normalizing<T>,
    pub(super) gate: G,
    /// Whether the tiles have left L2 since they were read.
    pub(super) from_memory: bool,
    pub(super) tiles: [Tile<'a, T>; N],
}

/// `[Σdz, Σdz·(x − mean)]` of each channel, added to `sums`.
pub(super) struct GradientSums<'a, T, G, const N: usize> {
    pub(super) gated: Gated<'a, T, G, N>,
    pub(super) mean: &'a Slots,
    pub(super) sums: &'a mut [Slots; 2],
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for GradientSums<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Gated { inner, by, gate, tiles, .. } = self.gated;
        let fold = simd::Fold {
            inner,
            tiles,
            coefficients: by.coefficients(),
            about: self.mean,
            sums: self.sums,
            prepare: simd::inlined(
                #[inline(always)]
                |tiles: [T::Vector<I>; N], by: [T::Vector<I>; 3]| [tiles[0], gate.gradient(tiles, by)],
            ),
            f: simd::inlined(
                #[inline(always)]
                |[x, dz]: [I::F64; 2], mean: I::F64, [of_dz, of_product]: [I::F64; 2]| {
                    [of_dz + dz, (x - mean).mul_add(dz, of_product)]
                },
            ),
        };
        fold.run(isa);
    }
}

/// Replaces the sums of vectors by the two totals of each channel.
pub(super) struct Totals<'a> {
    pub(super) inner: usize,
    pub(super) channels: usize,
    pub(super) sums: &'a mut [Slots; 2],
}

impl Kernel for Totals<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for sums in self.sums {
            for channel in 0..self.channels {
                sums[channel] = simd::total_of_channel(isa, self.inner, sums, channel);
            }
        }
    }
}

/// What makes dx of a strip: `dx = dz·scale + (x − shift)·slope + offset`, with the shift of [`Normalizing`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Differentiating<T>(pub(super) [[T; STRIP]; 3]);

impl<T: Element> Differentiating<T> {
    pub(super) fn new() -> Self {
        Self([[T::zero(); STRIP]; 3])
    }

    /// Sets channel `channel` to `dx = (dz − mean_dz − (x − mean)·k)·scale`.
    pub(super) fn set(&mut self, channel: usize, scale: f64, mean: f64, [mean_dz, k]: [f64; 2]) {
        let slope = -scale * k;
        let lost = mean - T::from_f64(mean).to_f64();
        let of_lost = if lost == 0.0 { 0.0 } else { slope * lost };
        let offset = -scale * mean_dz - of_lost;
        let values = [T::from_f64(scale), T::from_f64(slope), T::from_f64(offset)];
        for (coefficients, value) in self.0.iter_mut().zip(values) {
            coefficients[channel] = value;
        }
    }
}

/// What a backward writes of a tile.
pub(super) struct Outputs<'a, T> {
    pub(super) dx: MatrixMut<'a, T>,
    /// The gradient of the residual, dz, where it is wanted.
    pub(super) dz: Option<MatrixMut<'a, T>>,
    pub(super) store: Store,
}

/// Writes dx, made of the tiles, dz and the coefficients by `f`, and dz; the first coefficients are those of the gate.
#[inline(always)]
fn write_gradients<I: Isa, T: Element, G: Gate<T, N>, const N: usize, const K: usize>(
    isa: I,
    Gated { inner, gate, from_memory, tiles, .. }: Gated<'_, T, G, N>,
    coefficients: [&[T; STRIP]; K],
    Outputs { dx, dz, store }: Outputs<'_, T>,
    f: impl Fn(T::Vector<I>, T::Vector<I>, [T::Vector<I>; K]) -> T::Vector<I>,
) {
    let from = (tiles, [from_memory; N]);
    let both = simd::inlined(
        #[inline(always)]
        |tiles: [T::Vector<I>; N], by: [T::Vector<I>; K]| {
            let dz = gate.gradient(tiles, [by[0], by[1], by[2]]);
            [f(tiles[0], dz, by), dz]
        },
    );
    match dz {
        Some(dz) => simd::map_channels(isa, inner, from, coefficients, ([dx, dz], store), both),
        None => simd::map_channels(
            isa,
            inner,
            from,
            coefficients,
            ([dx], store),
            #[inline(always)]
            |tiles, by| [both(tiles, by)[0]],
        ),
    }
}

/// `dx = dz·scale + (x − shift)·slope + offset`.
pub(super) struct Differentiate<'a, T, G, const N: usize> {
    pub(super) gated: Gated<'a, T, G, N>,
    pub(super) differentiating: &'a Differentiating<T>,
    pub(super) outputs: Outputs<'a, T>,
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for Differentiate<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gated, differentiating, outputs } = self;
        let [shift, scale, offset] = gated.by.coefficients();
        let [of_dz, slope, of_all] = differentiating.0.each_ref();
        write_gradients(
            isa,
            gated,
            [shift, scale, offset, of_dz, slope, of_all],
            outputs,
            #[inline(always)]
            |x, dz, [shift, _, _, of_dz, slope, of_all]| {
                dz.mul_add(of_dz, (x - shift).mul_add(slope, of_all))
            },
        );
    }
}

/// `dx = dz·scale`: the statistics do not depend on x.
pub(super) struct Scale<'a, T, G, const N: usize> {
    pub(super) gated: Gated<'a, T, G, N>,
    pub(super) scale: &'a [T; STRIP],
    pub(super) outputs: Outputs<'a, T>,
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for Scale<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gated, scale: of_dz, outputs } = self;
        let [shift, scale, offset] = gated.by.coefficients();
        write_gradients(
            isa,
            gated,
            [shift, scale, offset, of_dz],
            outputs,
            #[inline(always)]
            |_, dz, [.., of_dz]| dz * of_dz,
        );
    }
}

/// dz itself.
pub(super) struct Gradient<'a, T, G, const N: usize> {
    pub(super) gated: Gated<'a, T, G, N>,
    pub(super) dz: MatrixMut<'a, T>,
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for Gradient<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Gated { inner, by, gate, tiles, .. } = self.gated;
        simd::map_channels(
            isa,
            inner,
            (tiles, [true; N]),
            by.coefficients(),
            ([self.dz], Store::Cached),
            #[inline(always)]
            |tiles, by| [gate.gradient(tiles, by)],
        );
    }
}
