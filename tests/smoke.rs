//! t
use steadygrad::{Level, math};
#[test]
fn levels() {
    let x: Vec<f32> = (0..100).map(|i| i as f32 * 0.1 - 5.0).collect();
    for level in Level::available() {
        for n in 0..100 {
            let mut y = vec![f32::NAN; n];
            Level::scoped(level, || math::exp(&x[..n], &mut y)).unwrap().unwrap();
            for i in 0..n {
                assert_eq!(y[i], x[i].exp());
            }
        }
        println!("{level}");
    }
}
