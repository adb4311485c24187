// oauth2-mock-server and openid-client: a platform that is somebody else's program signs (RS256) for a pod
// and for a workflow run, and a standard client turns that into a token, without a secret (RFC 7523).

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'

import { createRemoteJWKSet, jwtVerify } from 'jose'
import { OAuth2Server } from 'oauth2-mock-server'
import * as oauth from 'openid-client'

import { Checks, context } from './checks.mjs'

const { issuer, url, admin_token: adminToken, port, agent } = context.workloads
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const checks = new Checks('workloads')

const platform = new OAuth2Server()
await platform.issuer.keys.generate('RS256')
await platform.start(port, '127.0.0.1')
platform.issuer.url = `http://127.0.0.1:${port}`

/** Runs a command of ours that must succeed, and resolves to the object that it prints. The platform,
 * which is this process, answers meanwhile. */
async function accredit(...words) {
  const env = { ...process.env, ACCREDIT_URL: url, ACCREDIT_TOKEN: adminToken }
  const { stdout } = await promisify(execFile)(context.accredit, [...words, '--output', 'json'], { env })
  return JSON.parse(stdout)
}

/** A token of the platform, with these claims besides. */
function signed(claims) {
  return platform.issuer.buildToken({
    expiresIn: 3600,
    scopesOrTransform: (_, payload) => Object.assign(payload, { aud: issuer, jti: randomUUID() }, claims),
  })
}

const pod = (uid, claims) =>
  signed({
    sub: 'system:serviceaccount:prod:bot',
    'kubernetes.io': { namespace: 'prod', pod: { name: 'bot-0', uid } },
    ...claims,
  })

const run = (claims) =>
  signed({
    sub: 'repo:acme/app:environment:prod',
    repository: 'acme/app',
    repository_id: '74',
    environment: 'prod',
    run_id: '19',
    run_attempt: '1',
    ...claims,
  })

const discover = (authentication) =>
  oauth.discovery(new URL(issuer), agent, undefined, authentication, {
    algorithm: 'oauth2',
    execute: [oauth.allowInsecureRequests],
  })

/** Shows a token as the grant, by a client that authenticates with nothing. */
async function granted(assertion) {
  const config = await discover(oauth.None())
  return oauth.genericGrantRequest(config, JWT_BEARER, { assertion, scope: 'crm:read' })
}

/** Shows a token as the client's authentication. */
async function asClient(assertion) {
  const authentication = (_as, _client, body) => {
    body.set('client_assertion_type', ASSERTION)
    body.set('client_assertion', assertion)
  }
  return oauth.clientCredentialsGrant(await discover(authentication), { scope: 'crm:read' })
}

/** Fails unless the answer is a token of the agent that verifies; returns the instance. */
async function instanceOf(answer) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))
  const { payload } = await jwtVerify(answer.access_token, keys, { issuer, typ: 'at+jwt' })
  assert.equal(payload.client_id, agent)
  assert.equal(payload.scope, 'crm:read')
  return payload.accredit.ins
}

async function isRefused(promise, error) {
  await assert.rejects(promise, (found) => {
    assert.equal(found.error, error, `${found.error}: ${found.error_description}`)
    return true
  })
}

await checks.check('a platform is registered by its own metadata, and its workloads by rules', async () => {
  const add = ['federation', 'add', 'prod', '--no-users', '--discover', '--issuer', platform.issuer.url]
  assert.equal((await accredit(...add)).audiences.length, 0)
  const rule = ['attest', 'rule', 'add', '--agent', 'bot', '--federation', 'prod']
  await accredit(...rule, '--kubernetes', '--namespace', 'prod', '--service-account', 'bot')
  await accredit(...rule, '--github', '--repository-id', '74', '--environment', 'prod')
})

await checks.check('metadata says that an assertion is a grant', async () => {
  const found = (await discover(oauth.None())).serverMetadata()
  assert.ok(found.grant_types_supported.includes(JWT_BEARER))
})

await checks.check('a pod and a workflow run get tokens with an assertion as the grant', async () => {
  const first = await instanceOf(await granted(await pod('pod-1')))
  assert.equal(await instanceOf(await granted(await pod('pod-1'))), first)
  assert.notEqual(await instanceOf(await granted(await pod('pod-2'))), first)
  assert.notEqual(await instanceOf(await granted(await run())), first)
})

await checks.check('and with the same as the authentication of a client', async () => {
  const first = await instanceOf(await asClient(await pod('pod-1')))
  assert.equal(await instanceOf(await granted(await pod('pod-1'))), first)
})

await checks.check('each is taken once, whatever it is shown as', async () => {
  const assertion = await pod('pod-1')
  await granted(assertion)
  await isRefused(granted(assertion), 'invalid_grant')
  await isRefused(asClient(assertion), 'invalid_client')
})

await checks.check('what is for somebody else, old, or of nobody who was named is refused', async () => {
  const now = Math.floor(Date.now() / 1000)
  await isRefused(granted(await pod('pod-1', { aud: 'https://kubernetes.default.svc' })), 'invalid_grant')
  await isRefused(granted(await pod('pod-1', { aud: [issuer, 'other'] })), 'invalid_grant')
  await isRefused(granted(await pod('pod-1', { exp: now - 61 })), 'invalid_grant')
  await isRefused(granted(await pod('pod-1', { iat: now - 3700 })), 'invalid_grant')
  await isRefused(granted(await pod('pod-1', { iss: 'https://other.example' })), 'invalid_grant')
  await isRefused(granted(await pod('pod-1', { sub: 'system:serviceaccount:dev:bot' })), 'unauthorized_client')
  await isRefused(granted(await run({ repository_id: '75' })), 'unauthorized_client')
})

await platform.stop()
checks.finish()
