//! RFC 7515, Biscuit v3: signing what the template says, in the format that it names. Nothing is
//! decided here.

use accredit_wire::biscuit::{BiscuitError, Unsigned};
use accredit_wire::ids::BlockId;
use accredit_wire::jose::jws::SigningInput;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;
use zeroize::Zeroizing;

use super::IssuedToken;
use super::template::{CredentialTemplate, Format};
use crate::context::Cx;
use crate::refusal::{Error, Fault, Refusal, Rule};

/// Signs the template's claims with its key; with the id of the first block, where there are blocks.
pub async fn mint(
    cx: &Cx,
    template: CredentialTemplate,
) -> Result<(IssuedToken, Option<BlockId>), Error> {
    let (text, block) = match template.format {
        Format::Jwt => (jwt(cx, &template).await?, None),
        // Boxed: every request would carry the room that it needs.
        Format::Biscuit => Box::pin(biscuit(cx, &template)).await?,
    };
    let said = template.token;
    let issued = IssuedToken {
        token: Secret::new(text),
        expires_in: u32::try_from(said.expires_at - said.issued_at).unwrap_or(0),
        token_type: TokenType::of(said.cnf),
        scope: said.scope,
        details: said.details,
        client: said.client_id,
    };
    Ok((issued, block))
}

async fn jwt(cx: &Cx, template: &CredentialTemplate) -> Result<String, Fault> {
    let payload = template.token.to_payload();
    let input = SigningInput::new(&template.key.header, &payload)
        .map_err(|error| Fault::new("mint", error))?;
    let signature = cx.world.vault.sign(&template.key.sealed, input.bytes()).await?;
    Ok(input.finish(&signature))
}

/// The key by which the holder narrows the token is made here, travels in it, and is kept nowhere.
async fn biscuit(
    cx: &Cx,
    template: &CredentialTemplate,
) -> Result<(String, Option<BlockId>), Error> {
    let seed = Zeroizing::new(cx.world.random::<32>());
    let unsigned = Unsigned::new(&template.token, &seed).map_err(too_large)?;
    let message = unsigned.signing_input();
    let signature = cx.world.vault.sign(&template.key.sealed, message).await?;
    let minted = unsigned.finish(&signature).map_err(too_large)?;
    Ok((minted.text, Some(minted.block)))
}

/// What was permitted is well formed: what can stand against it is its size.
fn too_large(error: BiscuitError) -> Refusal {
    Refusal::new(
        Rule::FormatTooSmall,
        format!("what the token would say does not fit into an attenuable one: {error}"),
        "ask for less, let the agent hold less that it may pass on, or ask for a JWT",
    )
}
