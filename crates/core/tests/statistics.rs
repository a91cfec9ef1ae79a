//! Statistics of columns: right, and the same however the rows are cut, merged and stored on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray,
};
use monorail_core::statistics::{Counts, Extreme, Numbers, Quantiles};
use proptest::prelude::*;

/// A column in two parts, each gathered in batches of this many rows.
fn parts(column: &dyn Array, at: usize, step: usize) -> [Vec<ArrayRef>; 2] {
    let at = at % (column.len() + 1);
    [(0, at), (at, column.len())]
        .map(|(start, end)| (start..end).step_by(step).map(|from| column.slice(from, step.min(end - from))).collect())
}

fn numbers(column: &dyn Array, at: usize, step: usize) -> Numbers {
    let [mut whole, later] = parts(column, at, step).map(|batches| {
        let mut state = Numbers::default();
        batches.iter().for_each(|batch| state.update(batch).unwrap());
        Numbers::from_bytes(&state.to_bytes()).unwrap()
    });
    whole.merge(&later);
    whole
}

fn quantiles(column: &dyn Array, at: usize, step: usize) -> Quantiles {
    let [mut whole, later] = parts(column, at, step).map(|batches| {
        let mut state = Quantiles::default();
        batches.iter().for_each(|batch| state.update(batch).unwrap());
        let back = Quantiles::from_bytes(&state.to_bytes()).unwrap();
        assert_eq!(back, state);
        back
    });
    whole.merge(&later);
    whole
}

fn counts(column: &dyn Array, at: usize, step: usize, limit: Option<usize>) -> Counts {
    let [mut whole, mut later] = parts(column, at, step).map(|batches| {
        let mut state = Counts::new(limit);
        batches.iter().for_each(|batch| state.update(batch).unwrap());
        Counts::from_bytes(&state.to_bytes().unwrap()).unwrap()
    });
    whole.merge(&mut later).unwrap();
    whole
}

fn texts_of(counts: &mut Counts) -> BTreeMap<String, i64> {
    let batch = counts.sorted().unwrap();
    let times = batch.column(1).as_primitive::<Int64Type>().values();
    if batch.num_rows() == 0 {
        return BTreeMap::new();
    }
    batch.column(0).as_string::<i64>().iter().map(|text| text.unwrap().to_owned()).zip(times.iter().copied()).collect()
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (-1e6..1e6).prop_map(Some),
        2 => (-3_i32..3).prop_map(|v| Some(f64::from(v))),
        1 => Just(None),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)].prop_map(Some),
    ]
}

proptest! {
    #[test]
    fn numbers_are_those_of_all_values(values in prop::collection::vec(value(), 0..3_000), at: usize, step in 1_usize..2_000) {
        let found = numbers(&Float64Array::from(values.clone()), at, step);
        let finite: Vec<f64> = values.iter().flatten().copied().filter(|v| v.is_finite()).collect();
        prop_assert_eq!(found.rows(), values.len() as u64);
        prop_assert_eq!(found.nulls(), values.iter().filter(|v| v.is_none()).count() as u64);
        prop_assert_eq!(found.nans(), values.iter().flatten().filter(|v| v.is_nan()).count() as u64);
        prop_assert_eq!(found.infinities(), values.iter().flatten().filter(|v| v.is_infinite()).count() as u64);
        prop_assert_eq!(found.count(), finite.len() as u64);
        let least = finite.iter().copied().reduce(f64::min).map(Extreme::Float);
        prop_assert_eq!(found.minimum(), least);
        if !finite.is_empty() {
            let mean = finite.iter().sum::<f64>() / finite.len() as f64;
            let m2: f64 = finite.iter().map(|v| (v - mean) * (v - mean)).sum();
            prop_assert!((found.mean() - mean).abs() <= 1e-9);
            prop_assert!((found.m2() - m2).abs() <= 1e-10 * m2);
        }
    }

    #[test]
    fn whole_numbers_keep_their_extremes(values in prop::collection::vec(any::<Option<i64>>(), 0..200), at: usize) {
        let found = numbers(&Int64Array::from(values.clone()), at, 7);
        let wanted = values.iter().flatten().max().map(|v| Extreme::Whole(i128::from(*v)));
        prop_assert_eq!(found.maximum(), wanted);
    }

    #[test]
    fn ranks_are_within_the_bound_and_in_their_brackets(
        seed: u64, rows in 1_usize..60_000, ties in 1_u64..1 << 40, at: usize, step in 500_usize..70_000,
    ) {
        let mut word = seed | 1;
        let values: Vec<f64> = (0..rows).map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word % ties) as f64
        }).collect();
        let found = quantiles(&Float64Array::from(values.clone()), at, step);
        let mut ordered = values;
        ordered.sort_by(f64::total_cmp);
        prop_assert_eq!(found.count(), rows as u64);
        prop_assert!(found.rank_error() as f64 <= 0.0015 * rows as f64);
        let ranks: Vec<u64> = (0..=20).map(|i| (rows as u64 - 1) * i / 20).collect();
        let brackets = found.brackets(&ranks);
        prop_assert!(brackets.windows(2).all(|two| two[0].1 < two[1].0));
        for (rank, value) in ranks.iter().zip(found.at(&ranks)) {
            let low = ordered.partition_point(|v| *v < value) as u64;
            let high = ordered.partition_point(|v| *v <= value) as u64;
            prop_assert!(low <= rank + found.rank_error() && *rank < high + found.rank_error());
            let true_value = ordered[*rank as usize];
            prop_assert!(brackets.iter().any(|(least, most)| (*least..=*most).contains(&true_value)));
        }
    }

    #[test]
    fn counts_are_those_of_all_texts_in_every_layout(
        values in prop::collection::vec(prop::option::of("[a-c]{0,3}|.{0,20}"), 0..300), at: usize, step in 1_usize..100,
    ) {
        let mut wanted = BTreeMap::new();
        values.iter().flatten().for_each(|text| *wanted.entry(text.clone()).or_insert(0) += 1);
        let plain = StringArray::from(values.clone());
        let view = StringViewArray::from_iter(values.iter().map(Option::as_deref));
        let words: DictionaryArray<Int32Type> = values.iter().map(Option::as_deref).collect();
        for column in [&plain as &dyn Array, &view, &words] {
            let mut found = counts(column, at, step, None);
            prop_assert_eq!(&texts_of(&mut found), &wanted);
            prop_assert_eq!(found.nulls().unwrap(), plain.null_count() as u64);
            prop_assert_eq!(found.distinct().unwrap(), wanted.len() as u64);
        }
    }

    #[test]
    fn counts_of_floats_are_in_order(values in prop::collection::vec(value(), 0..300), at: usize) {
        let mut found = counts(&Float64Array::from(values.clone()), at, 50, None);
        let mut wanted: Vec<f64> = values.iter().flatten().map(|v| v + 0.0).filter(|v| !v.is_nan()).collect();
        wanted.sort_by(f64::total_cmp);
        wanted.dedup();
        let batch = found.sorted().unwrap();
        if !wanted.is_empty() {
            prop_assert_eq!(batch.column(0).as_primitive::<Float64Type>().values().to_vec(), wanted);
        }
    }

    #[test]
    fn bytes_that_are_not_a_state_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_u8) {
        let mut bytes = bytes;
        bytes.insert(0, b"NQC"[usize::from(kind)]);
        let _ = (Numbers::from_bytes(&bytes), Quantiles::from_bytes(&bytes), Counts::from_bytes(&bytes));
    }
}

#[test]
fn a_state_that_is_cut_short_is_refused() {
    let column = Int32Array::from_iter(0..20_000);
    let states = [
        numbers(&column, 9, 900).to_bytes(),
        quantiles(&column, 9, 900).to_bytes(),
        counts(&column, 9, 900, None).to_bytes().unwrap(),
    ];
    for state in &states {
        let short = &state[..state.len() - 1];
        assert!(Numbers::from_bytes(short).is_err());
        assert!(Quantiles::from_bytes(short).is_err());
        assert!(Counts::from_bytes(short).is_err());
    }
}

#[test]
fn a_limit_bounds_what_is_kept() {
    // Every tenth row is one of ten words; all others are there once.
    let words =
        |row: usize| if row.is_multiple_of(10) { format!("often {}", row / 10 % 10) } else { format!("once {row}") };
    let column = StringArray::from_iter_values((0..100_000).map(words));
    let mut found = counts(&column, 40_000, 1_000, Some(500));
    assert!(!found.exact());
    assert!(texts_of(&mut found).len() <= 1_000);
    let distinct = found.distinct().unwrap() as f64;
    assert!((distinct / 90_010.0 - 1.0).abs() < 0.03, "{distinct}");
    let top = found.top(10).unwrap();
    assert!(top.column(0).as_string::<i64>().iter().all(|text| text.unwrap().starts_with("often")));
}

#[test]
fn two_dictionaries_of_one_column_are_both_read() {
    let one: Arc<StringArray> = Arc::new(StringArray::from(vec!["a", "b"]));
    let other: Arc<StringArray> = Arc::new(StringArray::from(vec!["b", "a"]));
    let mut found = Counts::new(None);
    for values in [&one, &one, &other, &one] {
        let keys = Int32Array::from(vec![Some(0), Some(0), None, Some(1)]);
        found.update(&DictionaryArray::new(keys, values.clone())).unwrap();
    }
    assert_eq!(texts_of(&mut found), BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 5)]));
    assert_eq!(found.nulls().unwrap(), 4);
}

#[test]
fn a_column_of_another_type_is_refused() {
    let mut found = Counts::new(None);
    found.update(&StringArray::from(vec!["a"])).unwrap();
    assert!(found.update(&Int32Array::from(vec![1])).is_err());
    assert!(Numbers::default().update(&StringArray::from(vec!["a"])).is_err());
}
