//! JSON's grammar: a place in the body, and what may be read there.

use crate::error::{Code, Error, Result};

use super::super::sink::Number;

/// Deepest nesting of any input.
pub const LIMIT_DEPTH: usize = 64;

/// Why reading ended before the body did.
pub enum Stop {
    Error(Error),
    /// As many faults are noted as an error lists.
    Enough,
    /// What looked like a wrapper has a second key: it is a record.
    Record,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

#[cold]
pub fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::MalformedJson, message)
}

/// A place in the body.
pub struct Cursor<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Cursor<'b> {
    /// The start of a body.
    pub fn new(text: &'b str) -> Self {
        Self { text, at: 0 }
    }

    /// Where it stands, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes back to a place it has been at.
    pub fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The byte here.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space.
    #[inline]
    pub fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// What stands here, in words.
    pub fn found(&self) -> &'static str {
        match self.peek() {
            None => "the end of the body",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(b't' | b'f') => "a bool",
            Some(b'n') => "null",
            Some(b'N' | b'I') => "NaN or Infinity, which JSON does not have",
            Some(b'}' | b']' | b',' | b':') => "punctuation",
            Some(_) => "a character no JSON value starts with",
        }
    }

    /// The error of something else standing here.
    #[cold]
    pub fn unexpected(&self, wanted: &str) -> Error {
        let error = malformed(format!("{wanted} should stand at byte {}, not {}", self.at, self.found()));
        match self.peek() {
            Some(b'N' | b'I') => error.hint("send null for a value that is not there"),
            Some(b'\'') => error.hint("JSON strings and keys are in double quotes"),
            _ => error.hint("check the body with a JSON validator"),
        }
    }

    /// Takes an opening bracket.
    #[inline]
    pub fn open(&mut self, byte: u8) -> Result<(), Stop> {
        self.blank();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(if byte == b'{' { "an object" } else { "an array" }).into())
    }

    /// Takes a closing bracket, if it is here.
    #[inline]
    pub fn close(&mut self, byte: u8) -> bool {
        self.blank();
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Takes a colon and the white space around it.
    #[inline]
    pub fn colon(&mut self) -> Result<(), Stop> {
        self.blank();
        if self.peek() == Some(b':') {
            self.at += 1;
            self.blank();
            return Ok(());
        }
        Err(self.unexpected("a colon").into())
    }

    /// Takes a comma (false) or the closing bracket (true).
    #[inline]
    pub fn next(&mut self, close: u8) -> Result<bool, Stop> {
        self.blank();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected("a comma or the closing bracket").into()),
        }
    }

    /// Takes an array, one item after the other.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.open(b'[')?;
        if self.close(b']') {
            return Ok(());
        }
        loop {
            self.blank();
            item(self)?;
            if self.next(b']')? {
                return Ok(());
            }
        }
    }

    /// Whether the key `quoted` (a name and its closing quote) stands here; if so it is taken.
    #[inline]
    pub fn is_key(&mut self, quoted: &[u8]) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let found = rest.first() == Some(&b'"')
            && !quoted.is_empty()
            && rest.get(1..1 + quoted.len()).is_some_and(|key| key == quoted);
        self.at += if found { 1 + quoted.len() } else { 0 };
        found
    }

    /// Goes to the value of an object that starts with the key `rows` and an array, or with `columns` and
    /// an object, and says what opens it; elsewhere stays.
    ///
    /// A column may be called `rows` or `columns` too (`is_column` tells): then only a look at what follows the
    /// value says whether the key is the only one.
    pub fn wrapper(&mut self, is_column: impl FnOnce(&str) -> bool) -> Option<u8> {
        let mut ahead = Cursor { text: self.text, at: self.at };
        ahead.open(b'{').ok()?;
        ahead.blank();
        let mut scratch = String::new();
        let key = ahead.string(&mut scratch).ok()?;
        let opener = match key {
            "rows" => b'[',
            "columns" => b'{',
            _ => return None,
        };
        let ambiguous = is_column(key);
        ahead.colon().ok()?;
        if ahead.peek() != Some(opener) {
            return None;
        }
        let inside = ahead.at;
        if ambiguous && ahead.skip(1).is_ok() && ahead.close(b',') {
            return None;
        }
        self.at = inside;
        Some(opener)
    }

    /// Reads what a wrapper holds, then its closing brace.
    pub fn within(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        inner(self)?;
        if self.close(b'}') {
            Ok(())
        } else if self.peek() == Some(b',') {
            Err(Stop::Record)
        } else {
            Err(self.unexpected("the closing brace").into())
        }
    }

    /// Makes sure that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Stop> {
        self.blank();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the body").into()),
        }
    }

    /// Reads a string; `scratch` holds it where it has escapes.
    #[inline]
    pub fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Stop>
    where
        'b: 's,
    {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string").into());
        }
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        match rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ') {
            Some(length) if rest.get(length) == Some(&b'"') => {
                self.at = start + length + 1;
                self.text.get(start..start + length).ok_or_else(|| self.unexpected("a string").into())
            }
            Some(length) if rest.get(length) == Some(&b'\\') => {
                scratch.clear();
                scratch.push_str(self.text.get(start..start + length).unwrap_or_default());
                self.at = start + length;
                self.escaped(scratch)?;
                Ok(scratch)
            }
            Some(length) => {
                self.at = start + length;
                Err(malformed(format!("a control character stands in a string at byte {}", self.at)).into())
            }
            None => Err(malformed("the body ends inside a string").into()),
        }
    }

    /// Reads the rest of a string from its first escape on.
    fn escaped(&mut self, into: &mut String) -> Result<(), Stop> {
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ') else {
                return Err(malformed("the body ends inside a string").into());
            };
            into.push_str(self.text.get(self.at..self.at + length).unwrap_or_default());
            self.at += length + 1;
            match rest.get(length) {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.escape(into)?,
                _ => {
                    return Err(malformed(format!("a control character stands in a string at byte {}", self.at)).into());
                }
            }
        }
    }

    fn escape(&mut self, into: &mut String) -> Result<(), Stop> {
        let wrong = |at: usize| malformed(format!("no such escape in a string at byte {at}"));
        let byte = self.peek().ok_or_else(|| malformed("the body ends inside a string"))?;
        self.at += 1;
        into.push(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex().ok_or_else(|| wrong(self.at))?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    let second = if self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u") {
                        self.at += 2;
                        self.hex().filter(|low| (0xdc00..0xe000).contains(low))
                    } else {
                        None
                    };
                    let low = second.ok_or_else(|| wrong(self.at))?;
                    0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| wrong(self.at))?
            }
            _ => return Err(wrong(self.at).into()),
        });
        Ok(())
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// Takes a word.
    pub fn literal(&mut self, word: &str) -> Result<(), Stop> {
        if self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.unexpected("a value").into())
    }

    /// Takes `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Stop> {
        let value = self.peek() == Some(b't');
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a number by JSON's own grammar.
    ///
    /// Up to 19 digits are gathered in an integer; where that and a power of ten are exact doubles one
    /// multiplication or division rounds right (Clinger 1990), and the slow path decides the rest.
    #[inline]
    pub fn number(&mut self) -> Result<Number, Stop> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        let negative = bytes.get(at) == Some(&b'-');
        at += usize::from(negative);
        let digits_start = at;
        let mut mantissa: u64 = 0;
        while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        let mut digits = at - digits_start;
        if digits == 0 || (digits > 1 && bytes.get(digits_start) == Some(&b'0')) {
            return Err(malformed(format!("a number is not written as JSON has it at byte {start}")).into());
        }
        if !matches!(bytes.get(at), Some(b'.' | b'e' | b'E')) {
            self.at = at;
            return Ok(match i64::try_from(mantissa) {
                // An integer has no sign of zero; a double does.
                Ok(0) if negative => Number::Float(-0.0),
                Ok(value) if digits <= 18 => Number::Int(if negative { -value } else { value }),
                _ => self.long_integer(start),
            });
        }
        let mut exponent: i32 = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let fraction = at;
            while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                at += 1;
            }
            if at == fraction {
                return Err(malformed(format!("a number is not written as JSON has it at byte {start}")).into());
            }
            digits += at - fraction;
            exponent = i32::try_from(at - fraction).map_or(i32::MIN, |n| -n);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let written = read_exponent(bytes, &mut at);
            let written = written.ok_or_else(|| malformed(format!("a number has no exponent at byte {start}")))?;
            exponent = exponent.saturating_add(written);
        }
        self.at = at;
        if digits <= 19 && mantissa <= 1 << 53 && exponent.unsigned_abs() <= 22 {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let value = mantissa as f64;
            let power = POWERS.get(exponent.unsigned_abs() as usize).copied().unwrap_or(1.0);
            let value = if exponent < 0 { value / power } else { value * power };
            return Ok(Number::Float(if negative { -value } else { value }));
        }
        let text = self.text.get(start..at).unwrap_or_default();
        fast_float2::parse(text)
            .map(Number::Float)
            .map_err(|_| malformed(format!("a number is not written as JSON has it at byte {start}")).into())
    }

    /// An integer of more than 18 digits; beyond 128 bits it is as good as infinite: no column holds it exactly.
    #[cold]
    fn long_integer(&self, start: usize) -> Number {
        let text = self.text.get(start..self.at).unwrap_or_default();
        text.parse::<i128>().map_or(Number::Float(f64::INFINITY), Number::Big)
    }

    /// Passes over one value of any kind.
    pub fn skip(&mut self, depth: usize) -> Result<(), Stop> {
        if depth > LIMIT_DEPTH {
            return Err(Error::new(Code::TooDeep, format!("the JSON is nested deeper than {LIMIT_DEPTH}"))
                .hint("rows are flat objects of values")
                .into());
        }
        self.blank();
        match self.peek() {
            Some(b'{') => {
                self.open(b'{')?;
                if self.close(b'}') {
                    return Ok(());
                }
                let mut scratch = String::new();
                loop {
                    self.blank();
                    self.string(&mut scratch)?;
                    self.colon()?;
                    self.skip(depth + 1)?;
                    if self.next(b'}')? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => self.array(|cursor| cursor.skip(depth + 1)),
            Some(b'"') => self.string(&mut String::new()).map(|_| ()),
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => Err(self.unexpected("a value").into()),
        }
    }
}

/// Reads what follows an `e`, the letter included; `None` where no digit does.
fn read_exponent(bytes: &[u8], at: &mut usize) -> Option<i32> {
    *at += 1;
    let minus = bytes.get(*at) == Some(&b'-');
    *at += usize::from(matches!(bytes.get(*at), Some(b'-' | b'+')));
    let first = *at;
    let mut written: i32 = 0;
    while let Some(digit) = bytes.get(*at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        written = written.saturating_mul(10).saturating_add(i32::from(digit));
        *at += 1;
    }
    (*at > first).then_some(if minus { -written } else { written })
}

/// Powers of ten that doubles hold exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
