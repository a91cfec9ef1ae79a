//! How often each value of a column is there: exactly, or above a limit of different values roughly.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, TimeUnit};

use super::bytes::{Reader, Writer, damaged};
use super::entries::{batch, key};
use super::table::{Key, Sketch, TOGETHER, Table};
use crate::error::{Code, Error, Result};

const KIND: u8 = b'C';
/// Bytes of different values from which on the less frequent are given up, where there is a limit.
const LIMIT_BYTES: usize = 32 << 20;
pub(super) const SIGN: u64 = 1 << 63;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// None has been seen.
    #[default]
    Nothing,
    /// Text.
    Text,
    /// Whole numbers; dates and times in their own unit.
    Whole,
    /// Whole numbers of 64 bits without a sign.
    Unsigned,
    /// Floats.
    Float,
}

/// Counts of the values of one column, by their bytes, which order as the values do.
#[derive(Debug, Default)]
pub struct Counts {
    kind: Kind,
    rows: u64,
    nulls: u64,
    nans: u64,
    /// Different values that are kept; none for all of them.
    limit: Option<usize>,
    table: Table,
    /// Estimates how many different values there were, once some were given up.
    given_up: Option<Sketch>,
    pending: Option<Pending>,
}

/// Rows that are places in a dictionary, counted before anybody looks at its values.
#[derive(Debug)]
struct Pending {
    dictionary: ArrayRef,
    counts: Vec<u64>,
}

/// A different value and how often it is there.
pub(super) type Entry<'a> = (&'a [u8], u64);

impl Counts {
    /// Begins; above twice `limit` different values only the most frequent are kept, and their counts are estimates.
    pub fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes the rows of a column.
    ///
    /// # Errors
    /// `wrong_type` if it is of a type whose values are not counted, or of another than before.
    pub fn update(&mut self, column: &dyn Array) -> Result<()> {
        self.rows += column.len() as u64;
        if let DataType::Dictionary(key, _) = column.data_type() {
            return match key.as_ref() {
                DataType::Int8 => self.indices::<Int8Type>(column),
                DataType::Int16 => self.indices::<Int16Type>(column),
                DataType::Int32 => self.indices::<Int32Type>(column),
                DataType::Int64 => self.indices::<Int64Type>(column),
                DataType::UInt8 => self.indices::<UInt8Type>(column),
                DataType::UInt16 => self.indices::<UInt16Type>(column),
                DataType::UInt32 => self.indices::<UInt32Type>(column),
                _ => self.indices::<UInt64Type>(column),
            };
        }
        self.values(column, |_| 1)
    }

    /// Counts the places of a dictionary; its values are looked up once, when another dictionary comes.
    fn indices<K: ArrowDictionaryKeyType>(&mut self, column: &dyn Array) -> Result<()> {
        let Some(column) = column.as_dictionary_opt::<K>() else { return Ok(()) };
        if self.pending.as_ref().is_none_or(|pending| !same(&pending.dictionary, column.values())) {
            self.flush()?;
            let counts = vec![0; column.values().len()];
            self.pending = Some(Pending { dictionary: column.values().clone(), counts });
        }
        let Some(Pending { counts, .. }) = &mut self.pending else { return Ok(()) };
        self.nulls += column.keys().null_count() as u64;
        let mut see = |key: K::Native| {
            if let Some(count) = counts.get_mut(key.as_usize()) {
                *count += 1;
            }
        };
        if column.keys().null_count() == 0 {
            column.keys().values().iter().for_each(|key| see(*key));
        } else {
            column.keys().iter().flatten().for_each(see);
        }
        Ok(())
    }

    /// Counts what waits for its dictionary to be read.
    fn flush(&mut self) -> Result<()> {
        let Some(Pending { dictionary, counts }) = self.pending.take() else { return Ok(()) };
        self.values(&dictionary, |row| counts.get(row).copied().unwrap_or_default())
    }

    /// Counts values, each of them as often as `times` says of its row.
    fn values(&mut self, column: &dyn Array, times: impl Fn(usize) -> u64) -> Result<()> {
        match column.data_type() {
            DataType::Null => self.nulls += (0..column.len()).map(times).sum::<u64>(),
            DataType::Utf8 => self.texts(column, column.as_string::<i32>().iter(), times)?,
            DataType::LargeUtf8 => self.texts(column, column.as_string::<i64>().iter(), times)?,
            DataType::Utf8View => self.texts(column, column.as_string_view().iter(), times)?,
            DataType::Float16 => self.doubles::<Float16Type>(column, |v| v.to_f64(), times)?,
            DataType::Float32 => self.doubles::<Float32Type>(column, f64::from, times)?,
            DataType::Float64 => self.doubles::<Float64Type>(column, |v| v, times)?,
            _ => self.wholes(column, times)?,
        }
        Ok(())
    }

    fn texts<'a>(
        &mut self,
        column: &dyn Array,
        values: impl Iterator<Item = Option<&'a str>>,
        times: impl Fn(usize) -> u64,
    ) -> Result<()> {
        self.be(Kind::Text, column)?;
        let mut keys = [Key::default(); TOGETHER];
        let mut held = 0;
        for (row, value) in values.enumerate() {
            let Some(value) = value else {
                self.nulls += times(row);
                continue;
            };
            if let Some(key) = keys.get_mut(held) {
                *key = Key::new(value.as_bytes(), times(row));
            }
            held += usize::from(times(row) > 0);
            if held == TOGETHER {
                self.count(&keys);
                held = 0;
            }
        }
        self.count(keys.get(..held).unwrap_or_default());
        Ok(())
    }

    /// Counts words of eight bytes, which order as the values do.
    fn words(&mut self, values: impl Iterator<Item = Option<u64>>, times: impl Fn(usize) -> u64) {
        let mut words = [([0; 8], 0); TOGETHER];
        let mut held = 0;
        let mut flush = |words: &[([u8; 8], u64)]| {
            let mut keys = [Key::default(); TOGETHER];
            for (key, (word, times)) in keys.iter_mut().zip(words) {
                *key = Key::new(word, *times);
            }
            self.count(keys.get(..words.len()).unwrap_or_default());
        };
        let mut nulls = 0;
        for (row, value) in values.enumerate() {
            let Some(value) = value else {
                nulls += times(row);
                continue;
            };
            if let Some(word) = words.get_mut(held) {
                *word = (value.to_be_bytes(), times(row));
            }
            held += usize::from(times(row) > 0);
            if held == TOGETHER {
                flush(&words);
                held = 0;
            }
        }
        flush(words.get(..held).unwrap_or_default());
        self.nulls += nulls;
    }

    fn doubles<T: ArrowPrimitiveType>(
        &mut self,
        column: &dyn Array,
        widen: impl Fn(T::Native) -> f64,
        times: impl Fn(usize) -> u64,
    ) -> Result<()> {
        self.be(Kind::Float, column)?;
        let values = column.as_primitive::<T>().iter().map(|value| value.map(&widen));
        let nan = |value: &Option<f64>| value.is_some_and(f64::is_nan);
        let nans: u64 = values.clone().enumerate().filter(|(_, value)| nan(value)).map(|(row, _)| times(row)).sum();
        let before = self.nulls;
        self.words(values.map(|value| value.filter(|value| !value.is_nan()).map(key)), times);
        // Those were counted as nulls.
        self.nans += nans;
        self.nulls = before + (self.nulls - before - nans);
        Ok(())
    }

    fn wholes(&mut self, column: &dyn Array, times: impl Fn(usize) -> u64) -> Result<()> {
        macro_rules! each {
            ($type:ty) => {{
                self.be(Kind::Whole, column)?;
                let values = column.as_primitive::<$type>().iter();
                self.words(values.map(|value| value.map(|v| i64::from(v).cast_unsigned() ^ SIGN)), times);
            }};
        }
        match column.data_type() {
            DataType::Boolean => {
                self.be(Kind::Whole, column)?;
                self.words(column.as_boolean().iter().map(|value| value.map(|v| u64::from(v) ^ SIGN)), times);
            }
            DataType::Int8 => each!(Int8Type),
            DataType::Int16 => each!(Int16Type),
            DataType::Int32 => each!(Int32Type),
            DataType::Int64 => each!(Int64Type),
            DataType::UInt8 => each!(UInt8Type),
            DataType::UInt16 => each!(UInt16Type),
            DataType::UInt32 => each!(UInt32Type),
            DataType::UInt64 => {
                self.be(Kind::Unsigned, column)?;
                self.words(column.as_primitive::<UInt64Type>().iter(), times);
            }
            DataType::Date32 => each!(Date32Type),
            DataType::Timestamp(TimeUnit::Second, _) => each!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => each!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => each!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => each!(TimestampNanosecondType),
            other => {
                return Err(Error::new(Code::WrongType, format!("values of a column of {other} are not counted"))
                    .hint("text, numbers, bools, dates and times are"));
            }
        }
        Ok(())
    }

    /// Notes what the values are.
    fn be(&mut self, kind: Kind, column: &dyn Array) -> Result<()> {
        if self.kind != Kind::Nothing && self.kind != kind {
            let kind = column.data_type();
            return Err(Error::new(Code::WrongType, format!("a column of another type before, now of {kind}")));
        }
        self.kind = kind;
        Ok(())
    }

    fn count(&mut self, keys: &[Key<'_>]) {
        self.table.add(keys);
        self.keep_to_limit();
    }

    /// Gives the less frequent values up, if there are too many.
    fn keep_to_limit(&mut self) {
        let Some(limit) = self.limit else { return };
        if self.table.len() <= limit.saturating_mul(2) && self.table.bytes() <= LIMIT_BYTES {
            return;
        }
        let sketch = self.given_up.get_or_insert_default();
        self.table.keep_most_frequent(limit, LIMIT_BYTES / 2, |hash| sketch.add(hash));
    }

    /// Takes what another has gathered from rows behind these.
    ///
    /// # Errors
    /// `wrong_type` if its values are of another type.
    pub fn merge(&mut self, later: &mut Self) -> Result<()> {
        self.flush()?;
        later.flush()?;
        if later.kind != Kind::Nothing {
            if self.kind != Kind::Nothing && self.kind != later.kind {
                return Err(Error::new(Code::WrongType, "a column of another type in other rows"));
            }
            self.kind = later.kind;
        }
        self.rows += later.rows;
        self.nulls += later.nulls;
        self.nans += later.nans;
        if let Some(sketch) = &later.given_up {
            self.given_up.get_or_insert_default().merge(sketch);
        }
        let mut keys = [Key::default(); TOGETHER];
        let mut left = later.table.iter();
        loop {
            let mut held = 0;
            for (slot, key) in keys.iter_mut().zip(&mut left) {
                *slot = key;
                held += 1;
            }
            self.count(keys.get(..held).unwrap_or_default());
            if held < TOGETHER {
                break;
            }
        }
        Ok(())
    }

    /// What the values are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many are null.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn nulls(&mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.nulls)
    }

    /// How many are NaN and not null.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn nans(&mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.nans)
    }

    /// Whether nothing was given up.
    pub fn exact(&self) -> bool {
        self.given_up.is_none()
    }

    /// How many different values; an estimate if not exact.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn distinct(&mut self) -> Result<u64> {
        self.flush()?;
        let Some(sketch) = &self.given_up else { return Ok(self.table.len() as u64) };
        let mut all = sketch.clone();
        self.table.iter().for_each(|key| all.add(key.hash));
        Ok(all.estimate().max(self.table.len() as u64))
    }

    /// All values in order, as columns `value` and `count`.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn sorted(&mut self) -> Result<RecordBatch> {
        self.flush()?;
        let mut entries: Vec<Entry<'_>> = self.table.iter().map(|key| (key.bytes, key.times)).collect();
        entries.sort_unstable();
        batch(&entries, self.kind)
    }

    /// The most frequent values, the lesser first of those that are equally frequent.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn top(&mut self, most: usize) -> Result<RecordBatch> {
        self.flush()?;
        let mut entries: Vec<Entry<'_>> = self.table.iter().map(|key| (key.bytes, key.times)).collect();
        entries.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        entries.truncate(most);
        batch(&entries, self.kind)
    }

    /// The state as bytes.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn to_bytes(&mut self) -> Result<Vec<u8>> {
        self.flush()?;
        let mut to = Writer::new(KIND);
        to.byte(self.kind as u8);
        for word in [self.rows, self.nulls, self.nans, self.limit.map_or(u64::MAX, |limit| limit as u64)] {
            to.word(word);
        }
        to.byte(u8::from(self.given_up.is_some()));
        if let Some(sketch) = &self.given_up {
            to.bytes(sketch.registers());
        }
        to.word(self.table.len() as u64);
        for key in self.table.iter() {
            to.word(key.bytes.len() as u64);
            to.word(key.times);
            to.bytes(key.bytes);
        }
        Ok(to.done())
    }

    /// The state of bytes.
    ///
    /// # Errors
    /// `internal` if they are not those of one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let from = &mut Reader::new(bytes, KIND)?;
        let kind = match from.byte()? {
            0 => Kind::Nothing,
            1 => Kind::Text,
            2 => Kind::Whole,
            3 => Kind::Unsigned,
            4 => Kind::Float,
            _ => return Err(damaged()),
        };
        let (rows, nulls, nans, limit) = (from.word()?, from.word()?, from.word()?, from.word()?);
        let mut made =
            Self { kind, rows, nulls, nans, ..Self::new(usize::try_from(limit).ok().filter(|l| *l < usize::MAX)) };
        if from.byte()? == 1 {
            made.given_up = Some(Sketch::from_registers(from.bytes(Sketch::BYTES)?));
        }
        for _ in 0..from.length(16)? {
            let (length, times) = (from.length(1)?, from.word()?);
            made.table.add(&[Key::new(from.bytes(length)?, times)]);
        }
        from.done()?;
        Ok(made)
    }
}

/// Whether two dictionaries are one in memory. As the first is held, its memory is nobody else's.
fn same(one: &ArrayRef, other: &ArrayRef) -> bool {
    let places = |array: &ArrayRef| -> Vec<(usize, usize)> {
        let data = array.to_data();
        let nulls = data.nulls().map(|nulls| (nulls.inner().values().as_ptr().addr(), nulls.offset()));
        let buffers = data.buffers().iter().map(|buffer| (buffer.as_ptr().addr(), buffer.len()));
        buffers.chain(nulls).chain([(data.offset(), data.len())]).collect()
    };
    one.data_type() == other.data_type() && places(one) == places(other)
}
