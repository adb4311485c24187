//! SEC 1 section C.8, X.690: ECDSA signatures in DER, as Biscuit has those of P-256, and in the 64
//! bytes of RFC 7518 section 3.4, as everything else here has them.

/// `SEQUENCE { INTEGER r, INTEGER s }` of `r || s`.
pub(super) fn fixed_to_der(fixed: &[u8; 64]) -> Vec<u8> {
    let (r, s) = fixed.split_at(32);
    let mut body = Vec::with_capacity(70);
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(31);
        let number = &number[zeros..];
        let sign = number.first().is_some_and(|first| first & 0x80 != 0);
        body.extend_from_slice(&[2, (number.len() + usize::from(sign)) as u8]);
        body.extend(sign.then_some(0));
        body.extend_from_slice(number);
    }
    let mut der = vec![0x30, body.len() as u8];
    der.append(&mut body);
    der
}

/// `r || s`, where this is their only encoding in DER.
pub(super) fn der_to_fixed(der: &[u8]) -> Option<[u8; 64]> {
    let mut fixed = [0u8; 64];
    let (&[0x30, len], body) = der.split_first_chunk()? else { return None };
    if usize::from(len) != body.len() {
        return None;
    }
    let mut rest = body;
    for half in fixed.chunks_exact_mut(32) {
        let (&[2, len], after) = rest.split_first_chunk()? else { return None };
        let (number, after) = after.split_at_checked(usize::from(len))?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        half.get_mut(32usize.checked_sub(number.len())?..)?.copy_from_slice(number);
        rest = after;
    }
    (rest.is_empty() && fixed_to_der(&fixed) == der).then_some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(r: [u8; 32], s: [u8; 32], zeros in 0usize..33) {
            let mut fixed = [0u8; 64];
            fixed[..32].copy_from_slice(&r);
            fixed[32..].copy_from_slice(&s);
            fixed[..zeros].fill(0);
            prop_assert_eq!(der_to_fixed(&fixed_to_der(&fixed)), Some(fixed));
        }

        #[test]
        fn there_is_one_spelling(der in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(fixed) = der_to_fixed(&der) {
                prop_assert_eq!(fixed_to_der(&fixed), der);
            }
        }
    }
}
