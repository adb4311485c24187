// openid-client over mutual TLS: `self_signed_tls_client_auth` and `tls_client_auth` are one to it.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { decodeJwt } from 'jose'
import * as oauth from 'openid-client'

import { Checks, context } from './checks.mjs'

const { accredit, tls } = context
const checks = new Checks('openid-client over mutual TLS')
const folder = mkdtempSync(join(tmpdir(), 'accredit-mtls-'))
const file = (name) => join(folder, name)
const ca = readFileSync(tls.ca)

/** One administrator's command. */
function administer(...words) {
  const env = { ...process.env, ACCREDIT_URL: tls.url, ACCREDIT_TOKEN: tls.admin_token }
  env.ACCREDIT_CA_FILE = tls.ca
  return JSON.parse(execFileSync(accredit, [...words, '--output', 'json'], { env }).toString())
}

/** A key and a certificate that it signed for itself, as PEM. */
function own(name) {
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const to = ['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)]
  const stdio = 'ignore'
  execFileSync('openssl', [...words, '-subj', `/CN=${name}`, '-days', '1', ...to], { stdio })
  return { cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}.key`)) }
}

/** What `fetch` is to openid-client, over connections with this certificate. */
function over(shown) {
  return (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      const request = https.request(url, { method, headers, ca, ...shown }, async (answer) => {
        const parts = []
        for await (const part of answer) parts.push(part)
        const { statusCode: status, headers } = answer
        resolve(new Response(Buffer.concat(parts), { status, headers }))
      })
      request.on('error', reject)
      request.end(body?.toString())
    })
}

/** Discovers the issuer and asks as the agent, by its connection alone. */
async function ask(shown) {
  const options = { algorithm: 'oauth2', [oauth.customFetch]: over(shown) }
  const by = oauth.TlsClientAuth()
  const config = await oauth.discovery(new URL(tls.issuer), tls.agent, {}, by, options)
  return oauth.clientCredentialsGrant(config, { scope: 'crm:read' })
}

/** RFC 8705 section 3.1. */
function thumbprint(shown) {
  return createHash('sha256').update(new X509Certificate(shown.cert).raw).digest('base64url')
}

const registered = own('registered')
administer(
  'credential', 'create', '--agent', 'bot', '--type', 'public-key', '--jwk', file('registered.pem'),
)

await checks.check('a registered key in a certificate gets a token that is bound to it', async () => {
  const token = await ask(registered)
  assert.equal(token.token_type, 'bearer')
  assert.deepEqual(decodeJwt(token.access_token).cnf, { 'x5t#S256': thumbprint(registered) })
})

await checks.check('another key, and no certificate, are invalid_client', async () => {
  for (const shown of [own('stranger'), {}]) {
    await assert.rejects(ask(shown), (found) => {
      assert.equal(found.error, 'invalid_client')
      return true
    })
  }
})

rmSync(folder, { recursive: true })
checks.finish()
