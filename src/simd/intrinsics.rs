//! How intrinsics are called: the proof that the CPU has them is the value that they are called on.

/// One intrinsic call; its arguments are evaluated outside the `unsafe` block.
macro_rules! cpu {
    ($intrinsic:ident $(::<$constant:tt>)? ($($argument:expr),*)) => {
        cpu!(@bind $intrinsic $(::<$constant>)? [a b c] [] $($argument,)*)
    };
    (@bind $intrinsic:ident $(::<$constant:tt>)? [$name:ident $($names:ident)*] [$($bound:ident)*] $argument:expr, $($rest:expr,)*) => {{
        let $name = $argument;
        cpu!(@bind $intrinsic $(::<$constant>)? [$($names)*] [$($bound)* $name] $($rest,)*)
    }};
    (@bind $intrinsic:ident $(::<$constant:tt>)? [$($names:ident)*] [$($bound:ident)*]) => {{
        // SAFETY: an `Avx2` or an `Avx512`, and so a vector, exists only where detection found its features.
        unsafe { $intrinsic $(::<$constant>)? ($($bound),*) }
    }};
}

/// The same intrinsic on both registers of a pair.
macro_rules! both {
    ($Pair:ident: $intrinsic:ident $(::<$constant:tt>)? ($($pair:expr),*)) => {
        $Pair(
            cpu!($intrinsic $(::<$constant>)? ($($pair.0),*)),
            cpu!($intrinsic $(::<$constant>)? ($($pair.1),*)),
        )
    };
}

pub(super) use {both, cpu};
