//! Protocol Buffers encoding, as much of it as Biscuit uses: varints and length-delimited fields.
//!
//! Stricter than the encoding demands, since a second spelling of the same token is a second thing
//! to reason about: numbers are as short as they can be, and there are no other wire types.

use super::BiscuitError;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], BiscuitError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(BiscuitError::Malformed),
        }
    }

    pub(super) fn array<const N: usize>(self) -> Result<[u8; N], BiscuitError> {
        self.bytes()?.try_into().map_err(|_| BiscuitError::Malformed)
    }

    pub(super) fn text(self) -> Result<&'a str, BiscuitError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BiscuitError::Malformed)
    }

    pub(super) fn number(self) -> Result<u64, BiscuitError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(BiscuitError::Malformed),
        }
    }

    pub(super) fn number32(self) -> Result<u32, BiscuitError> {
        self.number()?.try_into().map_err(|_| BiscuitError::Malformed)
    }
}

/// The fields of a message, in the order in which they stand.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), BiscuitError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| BiscuitError::Malformed)?;
        match tag & 7 {
            0 => Ok((number, Value::Number(self.varint()?))),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| BiscuitError::Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(BiscuitError::Malformed)?;
                self.0 = rest;
                Ok((number, Value::Bytes(bytes)))
            }
            _ => Err(BiscuitError::Malformed),
        }
    }

    fn varint(&mut self) -> Result<u64, BiscuitError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(BiscuitError::Malformed)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and the last of several is not zero.
            if (shift == 63 && bits > 1) || (shift > 0 && *byte == 0) {
                return Err(BiscuitError::Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BiscuitError::Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), BiscuitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a field that stands once.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), BiscuitError> {
    if slot.replace(value).is_some() { Err(BiscuitError::Malformed) } else { Ok(()) }
}

/// Writes the fields of a message.
#[derive(Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn number(&mut self, field: u32, number: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(number);
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message within, written by `write`.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.varint(u64::from(field) << 3 | 2);
        // Most are shorter than 128 bytes: their length is one byte, which is put in afterwards.
        let at = self.0.len();
        write(self);
        let mut len = Self::default();
        len.varint((self.0.len() - at) as u64);
        self.0.splice(at..at, len.0);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
