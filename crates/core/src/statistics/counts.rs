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
use super::table::{Sketch, Table};
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
        macro_rules! texts {
            ($values:expr) => {{
                self.be(Kind::Text, column)?;
                for (row, value) in $values.iter().enumerate() {
                    self.count(value.map(str::as_bytes), times(row));
                }
            }};
        }
        match column.data_type() {
            DataType::Null => self.nulls += (0..column.len()).map(times).sum::<u64>(),
            DataType::Utf8 => texts!(column.as_string::<i32>()),
            DataType::LargeUtf8 => texts!(column.as_string::<i64>()),
            DataType::Utf8View => texts!(column.as_string_view()),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => self.floats(column, times)?,
            _ => self.wholes(column, times)?,
        }
        Ok(())
    }

    fn floats(&mut self, column: &dyn Array, times: impl Fn(usize) -> u64) -> Result<()> {
        self.be(Kind::Float, column)?;
        match column.data_type() {
            DataType::Float16 => self.doubles::<Float16Type>(column, |v| v.to_f64(), times),
            DataType::Float32 => self.doubles::<Float32Type>(column, f64::from, times),
            _ => self.doubles::<Float64Type>(column, |v| v, times),
        }
        Ok(())
    }

    fn doubles<T: ArrowPrimitiveType>(
        &mut self,
        column: &dyn Array,
        widen: impl Fn(T::Native) -> f64,
        times: impl Fn(usize) -> u64,
    ) {
        for (row, value) in column.as_primitive::<T>().iter().enumerate() {
            match value.map(&widen) {
                Some(value) if value.is_nan() => self.nans += times(row),
                Some(value) => {
                    self.count(Some(&key(value).to_be_bytes()), times(row));
                }
                None => self.nulls += times(row),
            }
        }
    }

    fn wholes(&mut self, column: &dyn Array, times: impl Fn(usize) -> u64) -> Result<()> {
        macro_rules! each {
            ($kind:expr, $type:ty, $key:expr) => {{
                self.be($kind, column)?;
                for (row, value) in column.as_primitive::<$type>().iter().enumerate() {
                    self.count(value.map($key).as_ref().map(|key: &[u8; 8]| key.as_slice()), times(row));
                }
            }};
        }
        match column.data_type() {
            DataType::Boolean => {
                self.be(Kind::Whole, column)?;
                for (row, value) in column.as_boolean().iter().enumerate() {
                    self.count(value.map(|v| whole(v.into())).as_ref().map(<[u8; 8]>::as_slice), times(row));
                }
            }
            DataType::Int8 => each!(Kind::Whole, Int8Type, |v| whole(v.into())),
            DataType::Int16 => each!(Kind::Whole, Int16Type, |v| whole(v.into())),
            DataType::Int32 => each!(Kind::Whole, Int32Type, |v| whole(v.into())),
            DataType::Int64 => each!(Kind::Whole, Int64Type, whole),
            DataType::UInt8 => each!(Kind::Whole, UInt8Type, |v| whole(v.into())),
            DataType::UInt16 => each!(Kind::Whole, UInt16Type, |v| whole(v.into())),
            DataType::UInt32 => each!(Kind::Whole, UInt32Type, |v| whole(v.into())),
            DataType::UInt64 => each!(Kind::Unsigned, UInt64Type, u64::to_be_bytes),
            DataType::Date32 => each!(Kind::Whole, Date32Type, |v| whole(v.into())),
            DataType::Timestamp(TimeUnit::Second, _) => each!(Kind::Whole, TimestampSecondType, whole),
            DataType::Timestamp(TimeUnit::Millisecond, _) => each!(Kind::Whole, TimestampMillisecondType, whole),
            DataType::Timestamp(TimeUnit::Microsecond, _) => each!(Kind::Whole, TimestampMicrosecondType, whole),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => each!(Kind::Whole, TimestampNanosecondType, whole),
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

    fn count(&mut self, key: Option<&[u8]>, times: u64) {
        match key {
            None => self.nulls += times,
            Some(_) if times == 0 => {}
            Some(key) => {
                if self.table.add(key, times) {
                    self.keep_to_limit();
                }
            }
        }
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
        for (key, times) in later.table.iter() {
            self.count(Some(key), times);
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
        self.table.hashes().for_each(|hash| all.add(hash));
        Ok(all.estimate().max(self.table.len() as u64))
    }

    /// All values in order, as columns `value` and `count`.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn sorted(&mut self) -> Result<RecordBatch> {
        self.flush()?;
        let mut entries: Vec<Entry<'_>> = self.table.iter().collect();
        entries.sort_unstable();
        batch(&entries, self.kind)
    }

    /// The most frequent values, the lesser first of those that are equally frequent.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn top(&mut self, most: usize) -> Result<RecordBatch> {
        self.flush()?;
        let mut entries: Vec<Entry<'_>> = self.table.iter().collect();
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
        for (key, times) in self.table.iter() {
            to.word(key.len() as u64);
            to.word(times);
            to.bytes(key);
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
            made.table.add(from.bytes(length)?, times);
        }
        from.done()?;
        Ok(made)
    }
}

/// The bytes of a whole number, which order as the numbers do.
fn whole(value: i64) -> [u8; 8] {
    (value.cast_unsigned() ^ SIGN).to_be_bytes()
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
