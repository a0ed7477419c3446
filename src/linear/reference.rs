//! Plain loops over matrices without gaps.

use num_traits::Float;

/// C = α·A·B + β·C, A `m` by `k`, B `k` by `n`.
pub fn gemm<T: Float>([m, n, k]: [usize; 3], [alpha, beta]: [T; 2], a: &[T], b: &[T], c: &mut [T]) {
    for i in 0..m {
        for j in 0..n {
            let product = (0..k).fold(T::zero(), |sum, l| sum + a[i * k + l] * b[l * n + j]);
            let kept = if beta == T::zero() { T::zero() } else { beta * c[i * n + j] };
            c[i * n + j] = alpha * product + kept;
        }
    }
}

/// yᵢⱼ = Σₗ xᵢₗ·wⱼₗ + bⱼ
pub fn dense_forward<T: Float>([batch, inputs, outputs]: [usize; 3], x: &[T], w: &[T], b: &[T], y: &mut [T]) {
    for i in 0..batch {
        for j in 0..outputs {
            y[i * outputs + j] = (0..inputs).fold(b[j], |sum, l| sum + x[i * inputs + l] * w[j * inputs + l]);
        }
    }
}

/// dxᵢₗ = Σⱼ dyᵢⱼ·wⱼₗ
pub fn dense_backward_input<T: Float>([batch, inputs, outputs]: [usize; 3], dy: &[T], w: &[T], dx: &mut [T]) {
    for i in 0..batch {
        for l in 0..inputs {
            dx[i * inputs + l] =
                (0..outputs).fold(T::zero(), |sum, j| sum + dy[i * outputs + j] * w[j * inputs + l]);
        }
    }
}

/// dwⱼₗ += Σᵢ dyᵢⱼ·xᵢₗ, dbⱼ += Σᵢ dyᵢⱼ
pub fn dense_backward_parameters<T: Float>(
    [batch, inputs, outputs]: [usize; 3],
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: &mut [T],
) {
    for j in 0..outputs {
        for l in 0..inputs {
            dw[j * inputs + l] =
                (0..batch).fold(dw[j * inputs + l], |sum, i| sum + dy[i * outputs + j] * x[i * inputs + l]);
        }
        db[j] = (0..batch).fold(db[j], |sum, i| sum + dy[i * outputs + j]);
    }
}
