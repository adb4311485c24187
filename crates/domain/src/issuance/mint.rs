//! RFC 7515: signing what the template says. Nothing is decided here.

use accredit_wire::jose::jws::SigningInput;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;

use super::IssuedToken;
use super::template::CredentialTemplate;
use crate::context::Cx;
use crate::refusal::Fault;

/// Signs the template's claims with its key.
pub async fn mint(cx: &Cx, template: CredentialTemplate) -> Result<IssuedToken, Fault> {
    let payload = template.token.to_payload();
    let input = SigningInput::new(&template.key.header, &payload)
        .map_err(|error| Fault::new("mint", error))?;
    let signature = cx.world.vault.sign(&template.key.sealed, input.bytes()).await?;
    let said = template.token;
    Ok(IssuedToken {
        token: Secret::new(input.finish(&signature)),
        expires_in: u32::try_from(said.expires_at - said.issued_at).unwrap_or(0),
        token_type: TokenType::of(said.cnf),
        scope: said.scope,
        details: said.details,
        client: said.client_id,
    })
}
