//! Secrets that must stand nowhere in clear, and the one search for them in every form in which
//! somebody could have kept them.

use std::collections::HashMap;
use std::fmt::Write as _;

use accredit_wire::crypto::open;
use accredit_wire::jose::b64url_encode;
use rusqlite::Connection;

/// Crockford's base32, in which the secret part of a machine secret is written.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Bytes by which forms are told apart at first; each is longer.
const BEGINNING: usize = 8;

/// What must not be found: each form under a name for the failure's message.
pub(crate) struct Planted(Vec<(String, Vec<u8>)>);

impl Planted {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Looks for every form of everything.
    pub(crate) fn check(&self, place: &str, bytes: &[u8]) {
        let found = self.found(bytes);
        assert!(found.is_none(), "{} stands in {place}", found.unwrap_or_default());
    }

    /// What stands in some bytes, if anything does: in one pass, by how each form begins.
    pub(crate) fn found(&self, bytes: &[u8]) -> Option<&str> {
        let mut forms: HashMap<&[u8], Vec<&(String, Vec<u8>)>> = HashMap::new();
        for form in &self.0 {
            forms.entry(&form.1[..BEGINNING]).or_default().push(form);
        }
        bytes.windows(BEGINNING).enumerate().find_map(|(at, begins)| {
            let alike = forms.get(begins)?;
            let found = alike.iter().find(|(_, form)| bytes[at..].starts_with(form));
            found.map(|(name, _)| name.as_str())
        })
    }

    /// Bytes as they are, in hexadecimal and in base64, also within something longer.
    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 16, "{name} is too short to be told from chance");
        self.0.push((name.to_owned(), bytes.to_vec()));
        let mut hex = String::new();
        for byte in bytes {
            write!(hex, "{byte:02x}").expect("a string");
        }
        self.0.push((format!("{name}, in hexadecimal"), hex.into_bytes()));
        for before in 0..3 {
            let encoded = b64url_encode(&[&vec![0; before][..], bytes].concat());
            // The first and the last letter may share bits with what stands around it.
            let whole =
                encoded[(before * 8).div_ceil(6)..(before + bytes.len()) * 8 / 6].to_owned();
            let standard = whole.replace('-', "+").replace('_', "/");
            for form in [whole, standard] {
                self.0.push((format!("{name}, in base64"), form.into_bytes()));
            }
        }
    }

    /// A machine secret: its text, the secret part alone, and the 256 random bits.
    pub(crate) fn secret(&mut self, name: &str, text: &str) {
        let part = text.split('_').nth(3).expect("the secret part");
        self.bytes(name, part.as_bytes());
        let (mut bits, mut held, mut raw) = (0u32, 0, Vec::new());
        for letter in part.bytes() {
            let value = BASE32.iter().position(|one| *one == letter).expect("base32");
            (bits, held) = (bits << 5 | value as u32, held + 5);
            if held >= 8 {
                held -= 8;
                raw.push((bits >> held) as u8);
                bits &= (1 << held) - 1;
            }
        }
        assert_eq!(raw.len(), 32, "{name}");
        self.bytes(&format!("{name}, its bits"), &raw);
    }

    /// A token or an assertion: its signature, without which it is worth nothing.
    pub(crate) fn signed(&mut self, name: &str, text: &str) {
        let (_, signature) = text.rsplit_once('.').expect("a signature");
        self.0.push((name.to_owned(), signature.as_bytes().to_vec()));
    }

    /// A root key as its file holds it, and whatever of a store it unwraps: peppers, and private
    /// keys as DER and as the bare number. Says how many there were of both.
    pub(crate) fn wrapped(&mut self, root: &str, store: &Connection) -> (usize, usize) {
        let digits = |at: usize| u8::from_str_radix(&root[at..at + 2], 16).expect("hexadecimal");
        let root: [u8; 32] = std::array::from_fn(|index| digits(2 * index));
        self.bytes("the root key", &root);
        let all = |sql: &str| -> Vec<(String, Vec<u8>)> {
            let mut statement = store.prepare(sql).expect("a statement");
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.expect("rows").map(|row| row.expect("a row")).collect()
        };
        let peppers = all("SELECT 'accredit/pepper/' || version || '/1', wrapped FROM pepper");
        for (bound_to, wrapped) in &peppers {
            let plain = open(&root, bound_to.as_bytes(), wrapped).expect("it opens");
            self.bytes("a pepper", &plain);
        }
        let keys =
            all("SELECT 'accredit/' || org || '/' || id || '/' || purpose || '/1', wrapped \
                        FROM signing_key");
        for (bound_to, wrapped) in &keys {
            let der = open(&root, bound_to.as_bytes(), wrapped).expect("it opens");
            let name = format!("the private key {bound_to}");
            // RFC 5915 section 3 and RFC 8410 section 7: 32 bytes in an octet string.
            let marks: [&[u8]; 2] = [&[2, 1, 1, 4, 32], &[4, 34, 4, 32]];
            let number = marks.iter().find_map(|mark| {
                let at = der.windows(mark.len()).position(|window| window == *mark)?;
                der.get(at + mark.len()..at + mark.len() + 32)
            });
            self.bytes(&format!("{name}, its number"), number.expect("a private key"));
            self.bytes(&name, &der);
        }
        (peppers.len(), keys.len())
    }
}
