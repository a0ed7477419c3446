//! Interim: lane by lane through `Float`, until the vector versions land.

use num_traits::Float;

use super::reference;
use crate::simd::{Vector, lane_by_lane};

#[inline(always)]
pub(crate) fn exp<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, Float::exp)
}
#[inline(always)]
pub(crate) fn expm1<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, Float::exp_m1)
}
#[inline(always)]
pub(crate) fn ln<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, Float::ln)
}
#[inline(always)]
pub(crate) fn ln_1p<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, Float::ln_1p)
}
#[inline(always)]
pub(crate) fn tanh<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, Float::tanh)
}
#[inline(always)]
pub(crate) fn sigmoid<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, reference::sigmoid)
}
#[inline(always)]
pub(crate) fn softplus<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, reference::softplus)
}
#[inline(always)]
pub(crate) fn log_sigmoid<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, reference::log_sigmoid)
}
#[inline(always)]
pub(crate) fn erf<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, reference::erf)
}
#[inline(always)]
pub(crate) fn erfc<V: Vector<Elem = f64>>(x: V) -> V {
    lane_by_lane(x, reference::erfc)
}
#[inline(always)]
pub(crate) fn normal<V: Vector<Elem = f64>>(x: V) -> (V, V) {
    (lane_by_lane(x, reference::normal_cdf), lane_by_lane(x, reference::normal_pdf))
}
