//! The crate's layout: every leaf has its reference, its property test, its bench and its fuzz case, and `unsafe` and
//! intrinsics stay where they belong.

use std::fs;
use std::path::{Path, PathBuf};

/// What a folder under `src/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An op: `mod.rs`, `kernel.rs`, `reference.rs`, and a test, a bench and a fuzz case of its name.
    Leaf,
    /// Gathers leaves, or computes by calling them.
    Composition,
    /// What leaves stand on.
    Infrastructure,
}

/// Every folder under `src/`: a new one is classified here.
const FOLDERS: &[(&str, Kind)] = &[
    ("activation", Kind::Leaf),
    ("activation/prelu", Kind::Leaf),
    ("clip", Kind::Composition),
    ("clip/clip_norm", Kind::Leaf),
    ("clip/clip_value", Kind::Leaf),
    ("diagnostics", Kind::Composition),
    ("diagnostics/observe", Kind::Leaf),
    ("gradcheck", Kind::Composition),
    ("init", Kind::Composition),
    ("linear", Kind::Leaf),
    ("loss", Kind::Composition),
    ("loss/binary_cross_entropy_with_logits", Kind::Leaf),
    ("loss/cross_entropy", Kind::Leaf),
    ("loss/negative_log_likelihood", Kind::Leaf),
    ("loss/pointwise", Kind::Leaf),
    ("loss/softmax", Kind::Leaf),
    ("math", Kind::Infrastructure),
    ("math/f32", Kind::Infrastructure),
    ("math/f64", Kind::Infrastructure),
    ("norm", Kind::Composition),
    ("norm/batch_norm", Kind::Leaf),
    ("norm/group_norm", Kind::Leaf),
    ("norm/layer_norm", Kind::Leaf),
    ("norm/rms_norm", Kind::Leaf),
    ("norm/rows", Kind::Infrastructure),
    ("norm/spectral_norm", Kind::Leaf),
    ("norm/weight_norm", Kind::Leaf),
    ("optim", Kind::Composition),
    ("optim/adadelta", Kind::Leaf),
    ("optim/adagrad", Kind::Leaf),
    ("optim/adam", Kind::Leaf),
    ("optim/lamb", Kind::Leaf),
    ("optim/lars", Kind::Leaf),
    ("optim/lion", Kind::Leaf),
    ("optim/nadam", Kind::Leaf),
    ("optim/radam", Kind::Leaf),
    ("optim/rms_prop", Kind::Leaf),
    ("optim/schedule", Kind::Composition),
    ("optim/sgd", Kind::Leaf),
    ("parallel", Kind::Infrastructure),
    ("pretrain", Kind::Composition),
    ("pretrain/autoencoder", Kind::Leaf),
    ("pretrain/greedy", Kind::Composition),
    ("pretrain/rbm", Kind::Leaf),
    ("random", Kind::Composition),
    ("random/philox", Kind::Leaf),
    ("recurrent", Kind::Composition),
    ("recurrent/gru", Kind::Leaf),
    ("recurrent/layer_norm_lstm", Kind::Leaf),
    ("recurrent/lstm", Kind::Leaf),
    ("recurrent/rnn", Kind::Leaf),
    ("recurrent/stack", Kind::Composition),
    ("recurrent/zoneout", Kind::Leaf),
    ("regularize", Kind::Composition),
    ("regularize/dropout", Kind::Leaf),
    ("regularize/group_lasso", Kind::Leaf),
    ("regularize/max_norm", Kind::Leaf),
    ("regularize/orthogonality", Kind::Leaf),
    ("regularize/penalty", Kind::Leaf),
    ("regularize/proximal", Kind::Leaf),
    ("residual", Kind::Composition),
    ("residual/add", Kind::Leaf),
    ("residual/highway", Kind::Leaf),
    ("residual/scaled", Kind::Leaf),
    ("residual/stochastic_depth", Kind::Leaf),
    ("simd", Kind::Infrastructure),
    ("simd/avx2", Kind::Infrastructure),
    ("simd/avx512", Kind::Infrastructure),
    ("simd/channels", Kind::Infrastructure),
    ("simd/slices", Kind::Infrastructure),
    ("stats", Kind::Composition),
    ("stats/moments", Kind::Leaf),
    ("stats/norm_partial", Kind::Leaf),
];

/// Ops that share a leaf, where its own name is not one of them.
const SHARED: &[(&str, &[&str])] = &[
    ("diagnostics/observe", &["activity", "change"]),
    ("linear", &["gemm", "dense"]),
    ("norm/group_norm", &["group_norm", "instance_norm"]),
    ("norm/weight_norm", &["weight_norm", "weight_standardization"]),
];

/// Leaves whose tests, benches and fuzz cases are in files of another name than their family.
const FILES: &[(&str, &str)] = &[
    ("norm/group_norm", "row_norm"),
    ("norm/layer_norm", "row_norm"),
    ("norm/rms_norm", "row_norm"),
    ("norm/spectral_norm", "weight_norm"),
    ("norm/weight_norm", "weight_norm"),
];

#[test]
fn layout_classifies_every_folder() {
    let folders = folders();
    for folder in &folders {
        assert!(kind(folder).is_some(), "src/{folder} is not classified in FOLDERS of tests/layout.rs");
    }
    for (folder, _) in FOLDERS {
        assert!(folders.iter().any(|found| found == folder), "src/{folder} is classified but not there");
    }
}

#[test]
fn layout_calls_a_folder_with_a_kernel_a_leaf() {
    for folder in folders().iter().filter(|folder| exists(&format!("src/{folder}"), "kernel")) {
        assert_eq!(kind(folder), Some(Kind::Leaf), "src/{folder} has a kernel, so it is a leaf");
    }
}

#[test]
fn layout_leaf_has_its_three_parts() {
    for folder in leaves() {
        for part in ["mod", "kernel", "reference"] {
            assert!(exists(&format!("src/{folder}"), part), "src/{folder} lacks {part}.rs");
        }
    }
}

#[test]
fn layout_leaf_has_a_test() {
    for Op { files, stem, .. } in ops() {
        let names = test_names(&text_of("tests", files));
        let prefix = format!("{stem}_");
        assert!(names.iter().any(|name| name.starts_with(&prefix)), "tests/{files}.rs has no test {prefix}…");
        let reference = names.iter().any(|name| name.starts_with(&prefix) && name.contains("reference"));
        assert!(reference, "tests/{files}.rs does not hold {stem} against its reference");
    }
}

#[test]
fn layout_leaf_has_a_bench() {
    for Op { family, files, stem } in ops() {
        let text = text_of("benches", files);
        let written_out = text.contains(&format!("\"{family}/{stem}_"));
        let put_together = text.contains(&format!("\"{family}/{{")) && text.contains(&format!("\"{stem}_"));
        assert!(written_out || put_together, "benches/{files}.rs has no group {family}/{stem}_<direction>");
    }
}

#[test]
fn layout_leaf_has_a_fuzz_case() {
    for Op { files, stem, .. } in ops() {
        let cases = text_of("tests/fuzz", files);
        let named = cases.lines().any(|line| has_word(line.split("//").next().unwrap_or_default(), stem));
        assert!(named, "tests/fuzz/{files}.rs has no case for {stem}");
        // The published package leaves the fuzz crate out.
        let target = root().join(format!("fuzz/fuzz_targets/{files}.rs"));
        assert!(target.exists() || !root().join("fuzz").exists(), "{} is missing", target.display());
        let stable = fs::read_to_string(root().join("tests/fuzz.rs")).expect("tests/fuzz.rs");
        assert!(stable.contains(&format!("fuzz::{files}::run")), "tests/fuzz.rs does not run {files}");
    }
}

#[test]
fn layout_keeps_unsafe_and_intrinsics_where_they_belong() {
    let rules: [(&str, &[&str]); 4] = [
        ("unsafe", &["src/simd/"]),
        ("_mm256_", &["src/simd/avx2", "src/simd/avx512"]),
        ("_mm512_", &["src/simd/avx512"]),
        ("target_", &["src/simd/"]),
    ];
    for path in rust_files(&root().join("src")) {
        let name = path.strip_prefix(root()).expect("inside the crate").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, allowed) in rules {
                let found = match word {
                    "unsafe" => has_word(code, word),
                    "target_" => code.contains("cfg") && code.contains(word),
                    _ => code.contains(word),
                };
                let inside = allowed.iter().any(|prefix| name.starts_with(prefix));
                assert!(!found || inside, "{name}:{}: `{word}` belongs to {allowed:?}", number + 1);
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn kind(folder: &str) -> Option<Kind> {
    FOLDERS.iter().find(|(name, _)| *name == folder).map(|(_, kind)| *kind)
}

fn leaves() -> impl Iterator<Item = &'static str> {
    FOLDERS.iter().filter(|(_, kind)| *kind == Kind::Leaf).map(|(folder, _)| *folder)
}

/// An op: `prelu` of the family `activation`, in files of that name.
#[derive(Clone, Copy, Debug)]
struct Op {
    family: &'static str,
    files: &'static str,
    stem: &'static str,
}

/// Every op of every leaf.
fn ops() -> impl Iterator<Item = Op> {
    leaves().flat_map(|folder| {
        let (family, name) = (folder.split('/').next(), folder.rsplit('/').next());
        let stems = match SHARED.iter().find(|(leaf, _)| *leaf == folder) {
            Some((_, stems)) => stems.to_vec(),
            None => vec![name.unwrap_or(folder)],
        };
        let family = family.unwrap_or(folder);
        let files = FILES.iter().find(|(leaf, _)| *leaf == folder).map_or(family, |(_, files)| files);
        stems.into_iter().map(move |stem| Op { family, files, stem })
    })
}

/// Every folder under `src/` that is a module of its own: parts of a leaf that are folders belong to the leaf.
fn folders() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for path in entries(folder).into_iter().filter(|path| path.is_dir()) {
            let relative = path.strip_prefix(root().join("src")).expect("inside src");
            let name = relative.to_string_lossy().replace('\\', "/");
            let in_leaf = name.rsplit_once('/').is_some_and(|(folder, _)| kind(folder) == Some(Kind::Leaf));
            let is_part =
                in_leaf && ["kernel", "reference", "schedule"].iter().any(|part| path.ends_with(part));
            if !is_part {
                found.push(name);
            }
            walk(&path, found);
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    listed.map(|entry| entry.expect("an entry").path()).collect()
}

fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return entries(path).iter().flat_map(|path| rust_files(path)).collect();
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        vec![path.to_owned()]
    } else {
        Vec::new()
    }
}

/// Whether `folder` holds `part` as a file or as a folder.
fn exists(folder: &str, part: &str) -> bool {
    let folder = root().join(folder);
    folder.join(format!("{part}.rs")).is_file() || folder.join(part).is_dir()
}

/// The text of `folder/family.rs` and of all files in `folder/family/`; empty where there are none.
fn text_of(folder: &str, family: &str) -> String {
    let folder = root().join(folder);
    let mut files = vec![folder.join(format!("{family}.rs"))];
    if folder.join(family).is_dir() {
        files.extend(rust_files(&folder.join(family)));
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// Names of the functions that carry `#[test]`, in proptest blocks too.
fn test_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for after in text.split("#[test]").skip(1) {
        if let Some((_, rest)) = after.split_once("fn ") {
            names.push(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
        }
    }
    names
}

/// Whether `word` stands in `code` by itself, not as a part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name))
}
