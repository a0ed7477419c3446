//! Reads the golden files: a case is an op with its parameters, inputs, outputs and gradients.

use serde_json::Value;
use steadygrad::Element;

use crate::common::{Tolerance, assert_close, tolerance};

/// One op at one set of parameters.
#[derive(Debug)]
pub(crate) struct Case(Value);

/// The cases of `family`, which are never none.
pub(crate) fn cases(family: &str) -> Vec<Case> {
    let path = format!("{}/tests/golden/{family}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut file: Value = serde_json::from_str(&text).expect("JSON");
    let Value::Array(cases) = file["cases"].take() else { panic!("{path} has no cases") };
    assert!(!cases.is_empty(), "{path} has no cases");
    cases.into_iter().map(Case).collect()
}

impl Case {
    pub(crate) fn op(&self) -> &str {
        self.0["op"].as_str().expect("an op")
    }

    /// Whether the inputs are infinities, NaN, zeros and kinks.
    pub(crate) fn is_special(&self) -> bool {
        self.0["special"].as_bool().expect("a flag")
    }

    /// A parameter that is a float.
    pub(crate) fn float(&self, name: &str) -> f64 {
        number(&self.0["parameters"][name])
    }

    /// A parameter that only some cases have.
    pub(crate) fn optional_float(&self, name: &str) -> Option<f64> {
        self.0["parameters"].get(name).map(number)
    }

    /// A parameter that is two floats.
    pub(crate) fn pair(&self, name: &str) -> [f64; 2] {
        numbers(&self.0["parameters"][name]).try_into().expect("two floats")
    }

    /// A parameter that is a count.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.0["parameters"][name].as_u64().unwrap_or_else(|| panic!("no count {name}: {self:?}")) as usize
    }

    /// A parameter that is true or false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0["parameters"][name].as_bool().unwrap_or_else(|| panic!("no flag {name}: {self:?}"))
    }

    /// A parameter that is a word.
    pub(crate) fn word(&self, name: &str) -> &str {
        self.0["parameters"][name].as_str().unwrap_or_else(|| panic!("no word {name}: {self:?}"))
    }

    /// An input, rounded to `T`.
    pub(crate) fn input<T: Element>(&self, name: &str) -> Vec<T> {
        let values = list(&self.0["inputs"][name]).unwrap_or_else(|| panic!("no input {name}: {self:?}"));
        values.iter().map(|value| T::from_f64(number(value))).collect()
    }

    /// An input that only some cases have.
    pub(crate) fn optional_input<T: Element>(&self, name: &str) -> Option<Vec<T>> {
        self.0["inputs"].get(name).is_some().then(|| self.input(name))
    }

    /// An input that is a list of class indices.
    pub(crate) fn indices(&self, name: &str) -> Vec<i64> {
        let values = list(&self.0["inputs"][name]).unwrap_or_else(|| panic!("no input {name}: {self:?}"));
        values.iter().map(|value| value.as_i64().expect("an index")).collect()
    }

    /// An input that is a list of indices, which only some cases have.
    pub(crate) fn optional_indices(&self, name: &str) -> Option<Vec<i64>> {
        self.0["inputs"].get(name).is_some().then(|| self.indices(name))
    }

    /// An input that is a list of tensors, rounded to `T`.
    pub(crate) fn input_lists<T: Element>(&self, name: &str) -> Vec<Vec<T>> {
        let tensors = list(&self.0["inputs"][name]).unwrap_or_else(|| panic!("no input {name}: {self:?}"));
        tensors.iter().map(|t| numbers(t).into_iter().map(T::from_f64).collect()).collect()
    }

    /// An output or gradient.
    pub(crate) fn expected(&self, name: &str) -> Vec<f64> {
        numbers(self.result(name))
    }

    /// An output that is a list of tensors.
    pub(crate) fn expected_lists(&self, name: &str) -> Vec<Vec<f64>> {
        list(self.result(name)).expect("a list").iter().map(numbers).collect()
    }

    fn result(&self, name: &str) -> &Value {
        let results = [&self.0["outputs"], &self.0["gradients"]];
        results.iter().find_map(|group| group.get(name)).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Fails where `actual` is not PyTorch's result `name`.
    #[track_caller]
    pub(crate) fn compare<T: Element>(&self, name: &str, actual: &[T]) {
        self.compare_within(name, actual, &self.expected(name), tolerance::GOLDEN);
    }

    /// Fails where an element of `actual` is not within `tolerance` of `expected`.
    #[track_caller]
    pub(crate) fn compare_within<T: Element>(
        &self,
        name: &str,
        actual: &[T],
        expected: &[f64],
        tolerance: Tolerance,
    ) {
        assert_eq!(actual.len(), expected.len(), "{name}: {self:?}");
        for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
            let context = || format!("{name}[{i}] in {} of {self:?}", std::any::type_name::<T>());
            assert_close(actual, expected, tolerance, context);
        }
    }
}

fn list(value: &Value) -> Option<&Vec<Value>> {
    value.as_array()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().map(number).collect(),
        single => vec![number(single)],
    }
}

fn number(value: &Value) -> f64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a float"));
    text.parse().unwrap_or_else(|_| panic!("{text} is not a float"))
}
