// openid-client: discovery, token by secret and by signed assertion, introspection, revocation. It
// verifies no tokens of others; that is jose's part, for each token it gets.

import assert from 'node:assert/strict'

import { createRemoteJWKSet, importJWK, jwtVerify } from 'jose'
import * as oauth from 'openid-client'

import { Checks, context } from './checks.mjs'

const { issuer, agent, crm, billing, es256, eddsa } = context
const checks = new Checks('openid-client')

/** Discovers the issuer by RFC 8414 as this client; loopback is plain HTTP. */
function discover(clientId, authentication, algorithm = 'oauth2') {
  const options = { algorithm, execute: [oauth.allowInsecureRequests] }
  return oauth.discovery(new URL(issuer), clientId, undefined, authentication, options)
}

/** A token to read the crm, as this client. */
function fetchToken(config, parameters = { scope: 'crm:read' }) {
  return oauth.clientCredentialsGrant(config, parameters)
}

/** Fails unless the answer is a token for this client that verifies from the published keys. */
async function isToken(config, token) {
  const metadata = config.serverMetadata()
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))
  const expected = { issuer, audience: crm.audience, typ: 'at+jwt', algorithms: ['ES256', 'EdDSA'] }
  const { payload } = await jwtVerify(token.access_token, keys, expected)
  assert.equal(payload.client_id, config.clientMetadata().client_id)
  assert.equal(payload.scope, 'crm:read')
  assert.equal(token.token_type, 'bearer')
  assert.equal(token.expires_in, 300)
  assert.equal(token.scope, 'crm:read')
}

/** Gets a token as this client and verifies it. */
async function getsToken(config) {
  await isToken(config, await fetchToken(config))
}

async function isRefused(promise, error) {
  await assert.rejects(promise, (found) => {
    assert.equal(found.error, error)
    assert.ok(found.error_description, 'has no description')
    return true
  })
}

/** Signs assertions with a registered key; `modify` changes header and claims before signing. */
async function privateKeyJwt({ jwk }, modify) {
  const key = { key: await importJWK(jwk, jwk.alg), kid: jwk.kid }
  return oauth.PrivateKeyJwt(key, modify && { [oauth.modifyAssertion]: modify })
}

const asAgent = () => discover(agent.client_id, oauth.ClientSecretBasic(agent.client_secret))
const asResource = (who) => discover(who.client_id, oauth.ClientSecretBasic(who.client_secret))

await checks.check('discovery finds the endpoints (RFC 8414)', async () => {
  const found = (await asAgent()).serverMetadata()
  assert.equal(found.issuer, issuer)
  assert.ok(found.jwks_uri.startsWith(`${issuer}/`))
  assert.ok(found.grant_types_supported.includes('client_credentials'))
})

await checks.check('discovery finds the same in the OpenID form', async () => {
  const openid = await discover(agent.client_id, oauth.None(), 'oidc')
  const text = (config) => JSON.stringify(config.serverMetadata())
  assert.equal(text(openid), text(await asAgent()))
})

await checks.check('client_secret_basic, percent-encoded as RFC 6749 section 2.3.1 says', async () => {
  await getsToken(await asAgent())
})

await checks.check('client_secret_post', async () => {
  const post = oauth.ClientSecretPost(agent.client_secret)
  await getsToken(await discover(agent.client_id, post))
})

await checks.check('private_key_jwt with ES256', async () => {
  await getsToken(await discover(es256.client_id, await privateKeyJwt(es256)))
})

await checks.check('private_key_jwt with Ed25519, the name RFC 9864 gives EdDSA', async () => {
  await getsToken(await discover(eddsa.client_id, await privateKeyJwt(eddsa)))
})

await checks.check('private_key_jwt with EdDSA, the older name', async () => {
  const older = await privateKeyJwt(eddsa, (header) => {
    header.alg = 'EdDSA'
  })
  await getsToken(await discover(eddsa.client_id, older))
})

await checks.check('an assertion whose subject is somebody else is invalid_client', async () => {
  const forged = await privateKeyJwt(es256, (_, claims) => {
    claims.sub = crm.client_id
  })
  await isRefused(fetchToken(await discover(es256.client_id, forged)), 'invalid_client')
})

await checks.check('a wrong secret is invalid_client', async () => {
  const wrong = oauth.ClientSecretBasic('acr_agent_wrong')
  // A 401 with a challenge: openid-client reports the challenge before it reads the body.
  await assert.rejects(fetchToken(await discover(agent.client_id, wrong)), (found) => {
    assert.equal(found.status, 401)
    const challenged = found.code === 'OAUTH_WWW_AUTHENTICATE_CHALLENGE'
    assert.ok(challenged || found.error === 'invalid_client', `found ${found.code}`)
    return true
  })
})

await checks.check('two resources are invalid_target', async () => {
  const both = new URLSearchParams({ scope: 'crm:read' })
  both.append('resource', crm.audience)
  both.append('resource', billing.audience)
  await isRefused(fetchToken(await asAgent(), both), 'invalid_target')
})

await checks.check('introspection tells the resource, revocation ends it', async () => {
  const config = await asAgent()
  const { access_token: token } = await fetchToken(config)
  const resource = await asResource(crm)
  const before = await oauth.tokenIntrospection(resource, token)
  assert.equal(before.active, true)
  assert.equal(before.client_id, agent.client_id)
  assert.equal(before.scope, 'crm:read')
  assert.equal((await oauth.tokenIntrospection(await asResource(billing), token)).active, false)
  await oauth.tokenRevocation(config, token)
  assert.deepEqual({ ...(await oauth.tokenIntrospection(resource, token)) }, { active: false })
})

checks.finish()
