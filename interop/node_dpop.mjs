// openid-client and oauth4webapi: a token that is bound to a key of theirs (RFC 9449), by their proofs
// at our token endpoint, and our token with their proof under their own check of a resource server.

import assert from 'node:assert/strict'

import { calculateJwkThumbprint, decodeJwt } from 'jose'
import * as oauth4webapi from 'oauth4webapi'
import * as oauth from 'openid-client'

import { Checks, context } from './checks.mjs'

const { issuer, agent, crm, demanding } = context
const checks = new Checks('dpop')

/** Discovers an issuer as its agent; `sent` keeps every request that was sent. */
async function discover({ issuer, agent }, sent = []) {
  const options = { execute: [oauth.allowInsecureRequests], algorithm: 'oauth2' }
  const authentication = oauth.ClientSecretBasic(agent.client_secret)
  const config = await oauth.discovery(
    new URL(issuer),
    agent.client_id,
    undefined,
    authentication,
    options,
  )
  config[oauth.customFetch] = (url, init) => {
    sent.push({ url, init })
    return fetch(url, init)
  }
  return config
}

/** A handle with a new key, and the thumbprint of the key. */
async function newKey(config, algorithm) {
  const pair = await oauth.randomDPoPKeyPair(algorithm, { extractable: true })
  const jwk = await crypto.subtle.exportKey('jwk', pair.publicKey)
  return { pair, DPoP: oauth.getDPoPHandle(config, pair), jkt: await calculateJwkThumbprint(jwk) }
}

const fetchToken = (config, options) =>
  oauth.clientCredentialsGrant(config, { scope: 'crm:read' }, options)

const here = { issuer, agent }

await checks.check('the metadata names the algorithms of proofs', async () => {
  const found = (await discover(here)).serverMetadata().dpop_signing_alg_values_supported
  assert.deepEqual(found, ['ES256', 'EdDSA'])
})

for (const algorithm of ['ES256', 'Ed25519']) {
  await checks.check(`a proof with ${algorithm} binds the token to its key`, async () => {
    const config = await discover(here)
    const { DPoP, jkt } = await newKey(config, algorithm)
    const token = await fetchToken(config, { DPoP })
    assert.equal(token.token_type, 'dpop')
    assert.deepEqual(decodeJwt(token.access_token).cnf, { jkt })
    const options = { execute: [oauth.allowInsecureRequests], algorithm: 'oauth2' }
    const secret = oauth.ClientSecretBasic(crm.client_secret)
    const resource = await oauth.discovery(
      new URL(issuer),
      crm.client_id,
      undefined,
      secret,
      options,
    )
    const told = await oauth.tokenIntrospection(resource, token.access_token)
    assert.equal(told.active, true)
    assert.equal(told.token_type, 'DPoP')
    assert.deepEqual(told.cnf, { jkt })
  })
}

await checks.check('a proof that was sent once is refused the second time', async () => {
  const sent = []
  const config = await discover(here, sent)
  const { DPoP } = await newKey(config, 'ES256')
  await fetchToken(config, { DPoP })
  const { url, init } = sent.at(-1)
  const again = await fetch(url, init)
  const said = await again.json()
  assert.equal(again.status, 400)
  assert.equal(said.error, 'invalid_dpop_proof')
  assert.equal(said.rule, 'dpop-replayed')
})

await checks.check('without a proof the token is a plain one', async () => {
  const token = await fetchToken(await discover(here))
  assert.equal(token.token_type, 'bearer')
  assert.equal(decodeJwt(token.access_token).cnf, undefined)
})

await checks.check('a server that demands nonces gives one, and it is taken', async () => {
  const sent = []
  const config = await discover(demanding, sent)
  const { DPoP, jkt } = await newKey(config, 'ES256')
  const token = await fetchToken(config, { DPoP })
  assert.deepEqual(decodeJwt(token.access_token).cnf, { jkt })
  const nonces = sent.map(({ init }) => decodeJwt(new Headers(init.headers).get('dpop')).nonce)
  assert.equal(nonces.length, 2, 'once without, once with')
  assert.equal(nonces[0], undefined)
  assert.ok(nonces[1])
  const calls = sent.length
  await fetchToken(config, { DPoP })
  assert.equal(sent.length, calls + 1, 'the nonce is kept')
})

await checks.check('a resource server of theirs takes our token with their proof alone', async () => {
  const config = await discover(here)
  const { pair, DPoP } = await newKey(config, 'ES256')
  const token = await fetchToken(config, { DPoP })
  const as = {
    issuer,
    jwks_uri: config.serverMetadata().jwks_uri,
  }
  const url = new URL('https://crm.example/customers')
  let request
  const capture = { [oauth4webapi.customFetch]: async (to, init) => {
    request = new Request(to, { method: init.method, headers: init.headers })
    return new Response(null, { status: 204 })
  } }
  const client = { client_id: agent.client_id }
  const handle = oauth4webapi.DPoP(client, pair)
  await oauth4webapi.protectedResourceRequest(
    token.access_token,
    'GET',
    url,
    undefined,
    undefined,
    { DPoP: handle, ...capture },
  )
  const loopback = { [oauth4webapi.allowInsecureRequests]: true }
  const check = (asked) =>
    oauth4webapi.validateJwtAccessToken(as, asked, crm.audience, { ...loopback, requireDPoP: true })
  const claims = await check(request)
  assert.equal(claims.client_id, agent.client_id)
  const elsewhere = new Request('https://crm.example/other', { headers: request.headers })
  await assert.rejects(check(elsewhere))
  const headers = new Headers(request.headers)
  headers.set('authorization', headers.get('authorization').replace('DPoP', 'Bearer'))
  await assert.rejects(check(new Request(url, { headers })))
})

checks.finish()
