// jose: a resource that verifies offline, from the published keys alone.

import assert from 'node:assert/strict'

import * as jose from 'jose'

import { Checks, context } from './checks.mjs'

const { url, org, issuer, agent, crm, billing } = context
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

checks.finish()
