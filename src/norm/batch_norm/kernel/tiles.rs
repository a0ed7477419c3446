//! The maps and sums over a tile of channels.

use super::{Differentiating, Normalizing};
use crate::Element;
use crate::activation::kernel::Rectifier;
use crate::simd::{self, Isa, Kernel, MatrixMut, STRIP, Slots, Store, Tile, Vector};

/// `(x − shift)·scale + offset`.
#[inline(always)]
fn normalized<V: Vector>(x: V, [shift, scale, offset]: [V; 3]) -> V {
    (x - shift).mul_add(scale, offset)
}

/// `y = f((x − shift)·scale + offset)`.
pub(in crate::norm::batch_norm) struct Normalize<'a, T> {
    pub(in crate::norm::batch_norm) inner: usize,
    pub(in crate::norm::batch_norm) by: &'a Normalizing<T>,
    pub(in crate::norm::batch_norm) rectifier: Rectifier<T>,
    /// Whether x has left L2 since it was read.
    pub(in crate::norm::batch_norm) from_memory: bool,
    pub(in crate::norm::batch_norm) x: Tile<'a, T>,
    pub(in crate::norm::batch_norm) y: MatrixMut<'a, T>,
    pub(in crate::norm::batch_norm) store: Store,
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
pub(in crate::norm::batch_norm) struct NormalizeAdd<'a, T> {
    pub(in crate::norm::batch_norm) inner: usize,
    pub(in crate::norm::batch_norm) by: &'a Normalizing<T>,
    pub(in crate::norm::batch_norm) rectifier: Rectifier<T>,
    /// Whether x has left L2 since it was read.
    pub(in crate::norm::batch_norm) from_memory: bool,
    pub(in crate::norm::batch_norm) x: Tile<'a, T>,
    pub(in crate::norm::batch_norm) residual: Tile<'a, T>,
    pub(in crate::norm::batch_norm) y: MatrixMut<'a, T>,
    pub(in crate::norm::batch_norm) store: Store,
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
pub(in crate::norm::batch_norm) trait Gate<T: Element, const N: usize>:
    Copy
{
    /// dz, given what normalises the channel.
    fn gradient<V: Vector<Elem = T>>(self, tiles: [V; N], by: [V; 3]) -> V;
}

/// dz = dy.
#[derive(Clone, Copy)]
pub(in crate::norm::batch_norm) struct Open;

impl<T: Element> Gate<T, 2> for Open {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [_, dy]: [V; 2], _by: [V; 3]) -> V {
        dy
    }
}

/// Through an activation of the norm's output, which is computed anew from x.
#[derive(Clone, Copy)]
pub(in crate::norm::batch_norm) struct FromInput<T>(pub(in crate::norm::batch_norm) Rectifier<T>);

impl<T: Element> Gate<T, 2> for FromInput<T> {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [x, dy]: [V; 2], by: [V; 3]) -> V {
        self.0.gradient(normalized(x, by), dy)
    }
}

/// Through an activation whose output is the third tile.
#[derive(Clone, Copy)]
pub(in crate::norm::batch_norm) struct FromOutput<T>(pub(in crate::norm::batch_norm) Rectifier<T>);

impl<T: Element> Gate<T, 3> for FromOutput<T> {
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, [_, dy, y]: [V; 3], _by: [V; 3]) -> V {
        self.0.gradient(y, dy)
    }
}

/// A gate with the tiles that it reads, and what normalises them.
#[derive(Clone, Copy)]
pub(in crate::norm::batch_norm) struct Gated<'a, T, G, const N: usize> {
    pub(in crate::norm::batch_norm) inner: usize,
    pub(in crate::norm::batch_norm) by: &'a Normalizing<T>,
    pub(in crate::norm::batch_norm) gate: G,
    /// Whether the tiles have left L2 since they were read.
    pub(in crate::norm::batch_norm) from_memory: bool,
    pub(in crate::norm::batch_norm) tiles: [Tile<'a, T>; N],
}

/// `[Σdz, Σdz·(x − mean)]` of each channel, added to `sums`.
pub(in crate::norm::batch_norm) struct GradientSums<'a, T, G, const N: usize> {
    pub(in crate::norm::batch_norm) gated: Gated<'a, T, G, N>,
    pub(in crate::norm::batch_norm) mean: &'a Slots,
    pub(in crate::norm::batch_norm) sums: &'a mut [Slots; 2],
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

/// What a backward writes of a tile.
pub(in crate::norm::batch_norm) struct Outputs<'a, T> {
    pub(in crate::norm::batch_norm) dx: MatrixMut<'a, T>,
    /// The gradient of the residual, dz, where it is wanted.
    pub(in crate::norm::batch_norm) dz: Option<MatrixMut<'a, T>>,
    pub(in crate::norm::batch_norm) store: Store,
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
pub(in crate::norm::batch_norm) struct Differentiate<'a, T, G, const N: usize> {
    pub(in crate::norm::batch_norm) gated: Gated<'a, T, G, N>,
    pub(in crate::norm::batch_norm) differentiating: &'a Differentiating<T>,
    pub(in crate::norm::batch_norm) outputs: Outputs<'a, T>,
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for Differentiate<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gated, differentiating, outputs } = self;
        let [shift, scale, offset] = gated.by.coefficients();
        let [of_dz, slope, of_all] = differentiating.coefficients();
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
pub(in crate::norm::batch_norm) struct Scale<'a, T, G, const N: usize> {
    pub(in crate::norm::batch_norm) gated: Gated<'a, T, G, N>,
    pub(in crate::norm::batch_norm) differentiating: &'a Differentiating<T>,
    pub(in crate::norm::batch_norm) outputs: Outputs<'a, T>,
}

impl<T: Element, G: Gate<T, N>, const N: usize> Kernel for Scale<'_, T, G, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gated, differentiating, outputs } = self;
        let [of_dz, ..] = differentiating.coefficients();
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
pub(in crate::norm::batch_norm) struct Gradient<'a, T, G, const N: usize> {
    pub(in crate::norm::batch_norm) gated: Gated<'a, T, G, N>,
    pub(in crate::norm::batch_norm) dz: MatrixMut<'a, T>,
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
