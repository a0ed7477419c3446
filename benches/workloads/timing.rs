//! How a call is timed, and the line that says so: the method of `peers.py`.

use std::time::{Duration, Instant};

use serde_json::json;

/// Samples of which the median is taken.
const SAMPLES: usize = 15;
/// A sample repeats the call until it takes this long.
const SAMPLE: Duration = Duration::from_millis(4);

/// The call is repeated for so long before samples are taken: in a new process the first samples of `bn_relu/256x1024` took twice as
/// long as its last.
const WARM_UP: Duration = Duration::from_millis(50);

/// One run's settings.
pub(crate) struct Bench {
    pub filter: String,
    pub threads: usize,
    pub round: usize,
    /// Calls to make for a tool that counts instructions, instead of timing.
    pub count: Option<usize>,
}

/// What a call moves and computes: the least traffic it needs, each array once a pass.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    pub bytes: usize,
    pub flops: usize,
}

impl Bench {
    /// Times `call` and prints the line, unless the filter leaves it out.
    pub(crate) fn measure(
        &self,
        workload: &str,
        direction: &str,
        dtype: &str,
        work: Work,
        mut call: impl FnMut(),
    ) {
        let name = format!("{workload}/{direction}");
        if let Some(calls) = self.count {
            if name == self.filter {
                call();
                counted(calls, &mut call);
                println!("{}", json!({"counted": name, "dtype": dtype, "calls": calls}));
            }
            return;
        }
        if !name.contains(&self.filter) {
            return;
        }
        let mut time = |repeats: usize| {
            let start = Instant::now();
            for _ in 0..repeats {
                call();
            }
            start.elapsed()
        };
        time(1);
        let warm_until = Instant::now() + WARM_UP;
        let mut once = time(1);
        while Instant::now() < warm_until {
            once = time(1);
        }
        let repeats = (SAMPLE.as_secs_f64() / once.as_secs_f64().max(1e-9)).clamp(1.0, 200_000.0) as usize;
        let samples = if once.as_secs_f64() < 0.5 { SAMPLES } else { 7 };
        let mut seconds: Vec<f64> =
            (0..samples).map(|_| time(repeats).as_secs_f64() / repeats as f64).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[samples / 2];
        let mut line = json!({
            "peer": "steadygrad", "workload": workload, "dir": direction, "dtype": dtype, "threads": self.threads,
            "median_s": median, "min_s": seconds[0], "runs": samples, "round": self.round,
            "level": steadygrad::Level::current().name(),
        });
        let rate = |amount: usize| (amount as f64 / median * 1e-7).round() / 100.0;
        if work.bytes > 0 {
            line["bytes"] = work.bytes.into();
            line["gbps"] = rate(work.bytes).into();
        }
        if work.flops > 0 {
            line["flops"] = work.flops.into();
            line["gflops"] = rate(work.flops).into();
        }
        println!("{line}");
    }
}

/// `calls` calls, in a function that callgrind knows by its name. The call before filled tables and caches.
#[inline(never)]
fn counted(calls: usize, call: &mut dyn FnMut()) {
    for _ in 0..calls {
        call();
    }
}

/// Deterministic numbers with mean 0 and deviation about 1.
pub(crate) fn normal<T: steadygrad::Element>(len: usize) -> Vec<T> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(len as u64);
    (0..len).map(|_| T::from_f64((0..4).map(|_| rng.random_range(-0.866..0.866)).sum::<f64>())).collect()
}
