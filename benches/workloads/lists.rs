//! Lists of tensors by name: `resnet50`, `one64M`, and `list<N>x<M>` for N tensors of M elements.

/// Lengths of the tensors of a list.
pub(crate) fn lengths(name: &str) -> Option<Vec<usize>> {
    match name {
        "resnet50" => Some(resnet50()),
        "one64M" => Some(vec![64 << 20]),
        _ => {
            let (tensors, elements) = name.strip_prefix("list")?.split_once('x')?;
            Some(vec![elements.parse().ok()?; tensors.parse().ok()?])
        }
    }
}

/// The 161 parameters of ResNet-50: 25.6 million elements.
fn resnet50() -> Vec<usize> {
    let mut lengths = vec![64 * 3 * 7 * 7, 64, 64];
    let mut input = 64;
    for (width, blocks) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
        for block in 0..blocks {
            lengths.extend([width * input, width, width, width * width * 9, width, width]);
            lengths.extend([width * 4 * width, width * 4, width * 4]);
            if block == 0 {
                lengths.extend([width * 4 * input, width * 4, width * 4]);
            }
            input = width * 4;
        }
    }
    lengths.extend([1000 * 2048, 1000]);
    lengths
}
