// jose: a resource that verifies offline, from the published keys alone; and a client that signs its
// assertions with nothing else.

import assert from 'node:assert/strict'

import * as jose from 'jose'

import { Checks, context } from './checks.mjs'

const { url, org, issuer, agent, crm, billing, es256, eddsa } = context
const checks = new Checks('jose')

const discovery = await fetch(`${url}/.well-known/oauth-authorization-server/o/${org}`)
const metadata = await discovery.json()
const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri))

const EXPECTED = {
  issuer,
  audience: crm.audience,
  typ: 'at+jwt',
  algorithms: ['ES256', 'EdDSA'],
  requiredClaims: ['sub', 'iat', 'exp', 'jti', 'client_id', 'scope'],
}

async function fetchToken() {
  const answer = await fetch(metadata.token_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${agent.client_id}:${agent.client_secret}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'crm:read' }),
  })
  assert.equal(answer.status, 200)
  return (await answer.json()).access_token
}

/** Asks one of the OAuth endpoints, with the client's proof in the form. */
async function ask(endpoint, form) {
  return fetch(endpoint, { method: 'POST', body: new URLSearchParams(form) })
}

/** A client assertion (RFC 7523), for one request. */
async function proof({ client_id, jwk }) {
  const assertion = await new jose.SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: jwk.alg, kid: jwk.kid })
    .setIssuer(client_id)
    .setSubject(client_id)
    .setAudience(issuer)
    .setIssuedAt()
    .setExpirationTime('60s')
    .sign(await jose.importJWK(jwk, jwk.alg))
  return {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  }
}

/** The token with other claims and the old signature. */
function changed(token, claims) {
  const [header, , signature] = token.split('.')
  const text = JSON.stringify({ ...jose.decodeJwt(token), ...claims })
  return [header, jose.base64url.encode(text), signature].join('.')
}

const token = await fetchToken()

await checks.check('the token verifies as an RFC 9068 access token', async () => {
  const { payload, protectedHeader } = await jose.jwtVerify(token, keys, EXPECTED)
  assert.deepEqual(Object.keys(protectedHeader).sort(), ['alg', 'kid', 'typ'])
  assert.equal(payload.sub, agent.client_id)
  assert.equal(payload.client_id, agent.client_id)
  assert.equal(payload.scope, 'crm:read')
  assert.equal(payload.aud, crm.audience)
})

await checks.check('a token with a widened scope is refused', async () => {
  const forged = changed(token, { scope: 'crm:read crm:update' })
  const { JWSSignatureVerificationFailed } = jose.errors
  await assert.rejects(jose.jwtVerify(forged, keys, EXPECTED), JWSSignatureVerificationFailed)
})

for (const [what, claim, other] of [
  ['another audience', 'aud', { audience: billing.audience }],
  ['another issuer', 'iss', { issuer: `${issuer}2` }],
  ['another type of token', 'typ', { typ: 'JWT' }],
]) {
  await checks.check(`a token is refused by whoever expects ${what}`, async () => {
    await assert.rejects(jose.jwtVerify(token, keys, { ...EXPECTED, ...other }), (error) => {
      assert.ok(error instanceof jose.errors.JWTClaimValidationFailed, String(error))
      assert.equal(error.claim, claim)
      return true
    })
  })
}

await checks.check('a token is refused once it has expired', async () => {
  const later = { ...EXPECTED, currentDate: new Date(Date.now() + 301_000) }
  await assert.rejects(jose.jwtVerify(token, keys, later), jose.errors.JWTExpired)
})

for (const who of [es256, eddsa]) {
  await checks.check(`a token by an assertion with ${who.jwk.alg} verifies, and ends when it is revoked`, async () => {
    const asked = { ...(await proof(who)), grant_type: 'client_credentials', scope: 'crm:read' }
    const { access_token } = await (await ask(metadata.token_endpoint, asked)).json()
    const { payload } = await jose.jwtVerify(access_token, keys, EXPECTED)
    assert.equal(payload.client_id, who.client_id)
    const resource = { client_id: crm.client_id, client_secret: crm.client_secret }
    const introspect = async () => {
      const answer = await ask(metadata.introspection_endpoint, { ...resource, token: access_token })
      return (await answer.json()).active
    }
    assert.equal(await introspect(), true)
    const revoked = { ...(await proof(who)), token: access_token }
    assert.equal((await ask(metadata.revocation_endpoint, revoked)).status, 200)
    assert.equal(await introspect(), false)
  })
}

checks.finish()
