//! RFC 9449 section 5: a token that is asked for with a proof by a key, and bound to it.

use accredit_domain::ports::Entropy as _;
use accredit_wire::binding::dpop::{NONCE_HEADER, ProofKey, ToProve};
use accredit_wire::binding::nonce::NONCE_BYTES_MAX;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use http::HeaderValue;

use super::{ANSWER_BYTES_MAX, Api, read_answer, unsendable};
use crate::compose::SystemEntropy;
use crate::errors::Failure;
use crate::output::Answer;

/// The header of a proof.
const PROOF_HEADER: &str = "dpop";

impl Api {
    /// Asks the token endpoint as a client, with a proof by `key`. A server may demand a nonce in
    /// it, which its refusal gives: then it is asked once more.
    pub(crate) async fn bound_token(
        &self,
        issuer: &str,
        who: (&str, &Secret),
        form: &str,
        (key, now): (&ProofKey, Time),
    ) -> Result<Answer, Failure> {
        let url = format!("{issuer}/oauth/token");
        let mut nonce: Option<String> = None;
        loop {
            let mut request = Self::client_request(&url, who, form)?;
            let proof = prove(key, (&url, nonce.as_deref()), now)?;
            request.headers_mut().insert(PROOF_HEADER, proof);
            let sent = self.client.send(request, ANSWER_BYTES_MAX).await;
            let given = sent.as_ref().ok().and_then(|answer| answer.headers().get(NONCE_HEADER));
            let given = given.and_then(|given| given.to_str().ok()).map(str::to_owned);
            let given = given.filter(|given| given.len() <= NONCE_BYTES_MAX);
            match self.taken(sent) {
                Ok((body, _)) => return read_answer(issuer, &body),
                Err(_) if nonce.is_none() && given.is_some() => nonce = given,
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn prove(
    key: &ProofKey,
    (url, nonce): (&str, Option<&str>),
    now: Time,
) -> Result<HeaderValue, Failure> {
    let mut jti = [0u8; 16];
    SystemEntropy.fill(&mut jti);
    let request = ToProve { method: "POST", url, token: None, nonce };
    let proof = key.prove(&request, jti, now).map_err(|error| unsendable(&error))?;
    HeaderValue::try_from(proof).map_err(|error| unsendable(&error))
}
