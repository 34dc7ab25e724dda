import { Buffer } from 'node:buffer'
import * as crypto from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SessionError } from '../errors.ts'

/** A token and the id that it leads to. */
export interface Credentials {
  /** The secret in the cookie: 32 random bytes in base64url. Never stored, never logged. */
  readonly token: string
  /** `base64url(SHA-256(token))`: the store's key. It does not lead back to the token. */
  readonly id: string
}

/** Between tokens and the values of cookies. */
export interface TokenCodec {
  /** The cookie's value for a token: signed, where there are secrets. */
  encode(token: string): string
  /**
   * What a cookie's value leads to, or why to nothing: it does not look like ours (`'grammar'`, told without
   * hashing anything), or no secret of ours signed it (`'signature'`). Throws on no string.
   */
  decode(value: string): Credentials | 'grammar' | 'signature'
}

/** A secret to sign with: at least 32 bytes, as UTF-8 where it is a string. */
export type Secret = string | Uint8Array

/** The longest value that a codec encodes: a token, a dot and a tag. */
export const MAX_VALUE_LENGTH = 66

/** Makes a generator of fresh credentials. Nothing random is drawn before its first use: Workers forbid it. */
export function createTokenSource(): () => Credentials {
  // Filled for many tokens at a time: asking the system for random bytes costs more than all else here.
  const pool = Buffer.alloc(POOL_BYTES)
  let used = POOL_BYTES
  return () => {
    if (used === POOL_BYTES) {
      crypto.randomFillSync(pool)
      used = 0
    }
    const bytes = pool.subarray(used, used + TOKEN_BYTES)
    used += TOKEN_BYTES
    const token = bytes.toString('base64url')
    // The pool lives as long as the process; the tokens of the past must not be read from it.
    bytes.fill(0)
    return { token, id: idOf(token) }
  }
}

/** The id that a token leads to. */
export function idOf(token: string): string {
  return sha256(token, 'base64url')
}

/**
 * Without secrets, a value is the token alone: 256 random bits cannot be guessed. With secrets it is
 * `<token>.<tag>`, and a value not made here is turned away before any store is asked. To begin signing, or to
 * stop, signs everybody out.
 * @param secrets one, or a list: the first signs, all verify
 * @param cookieName part of what is signed, so that no value fits under another name
 * @throws SessionError `ERR_SESSION_OPTION` for a secret that is not fit
 */
export function createTokenCodec(
  secrets: Secret | readonly Secret[] | undefined,
  cookieName: string,
): TokenCodec {
  if (secrets === undefined) return UNSIGNED
  // NUL cannot be in a name or a token, so that no other pair of them comes to the same text.
  const context = `holdfast-cookie-1\0${cookieName}\0`
  const signers = deriveKeys(secrets).map((key) => createSigner(key, context))
  const given = Buffer.alloc(TAG_BYTES)

  return {
    encode: (token) => `${token}.${signers[0]!(token).toString('base64url')}`,
    decode(value) {
      if (!SIGNED_VALUE.test(value)) return 'grammar'
      const token = value.slice(0, TOKEN_LENGTH)
      given.write(value.slice(TOKEN_LENGTH + 1), 'base64url')
      const genuine = signers.some((tagOf) => crypto.timingSafeEqual(tagOf(token), given))
      return genuine ? { token, id: idOf(token) } : 'signature'
    },
  }
}

/**
 * Makes the tags of one key: HMAC-SHA-256 (RFC 2104), by two one-shot hashes over the padded key, which take a third of the time of
 * `createHmac`. A tag is the signer's own memory, good until it makes the next; one with memory to itself costs half a microsecond.
 */
function createSigner(key: KeyObject, context: string): (token: string) => Buffer {
  const inner = Buffer.alloc(BLOCK_BYTES + context.length + TOKEN_LENGTH, 0x36)
  const outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES, 0x5c)
  key.export().forEach((byte, i) => {
    inner[i]! ^= byte
    outer[i]! ^= byte
  })
  const tokenAt = BLOCK_BYTES + inner.write(context, BLOCK_BYTES, 'latin1')
  const tag = Buffer.alloc(TAG_BYTES)
  return (token) => {
    inner.write(token, tokenAt, 'latin1')
    outer.write(sha256(inner, 'binary'), BLOCK_BYTES, 'latin1')
    tag.write(sha256(outer, 'binary'), 'latin1')
    return tag
  }
}

const TOKEN_BYTES = 32
const TOKEN_LENGTH = 43
const TAG_BYTES = 16
const HASH_BYTES = 32
/** Of SHA-256 itself: what HMAC pads its key to. */
const BLOCK_BYTES = 64
const POOL_BYTES = 128 * TOKEN_BYTES

// RFC 4648 3.5 and 5: base64url without padding. The last character's spare bits, two of a token and four of a tag,
// must be zero: only then has a value one spelling.
const VALUE = /^[\w-]{42}[AEIMQUYcgkosw048]$/
const SIGNED_VALUE = /^[\w-]{42}[AEIMQUYcgkosw048]\.[\w-]{21}[AQgw]$/

const UNSIGNED: TokenCodec = {
  encode: (token) => token,
  decode: (value) => (VALUE.test(value) ? { token: value, id: idOf(value) } : 'grammar'),
}

/** One call instead of three, where the runtime has it. */
const sha256: (data: string | Buffer, encoding: 'base64url' | 'binary') => string =
  typeof crypto.hash === 'function'
    ? (data, encoding) => crypto.hash('sha256', data, encoding)
    : (data, encoding) => crypto.createHash('sha256').update(data).digest(encoding)

function deriveKeys(secrets: Secret | readonly Secret[]): readonly KeyObject[] {
  const list: readonly unknown[] = Array.isArray(secrets) ? secrets : [secrets]
  if (list.length === 0)
    throw refused(
      'secret-missing',
      'secrets is an empty list. Put one in, or leave secrets out to sign nothing.',
    )
  // Unlike map, this does not pass over holes.
  const keys = Array.from(list, deriveKey)
  keys.forEach((key, index) => {
    const first = keys.findIndex((other) => key.equals(other))
    if (first < index)
      throw refused(
        'secret-duplicate',
        `secrets[${index}] is the same as secrets[${first}]. Take one of them out.`,
      )
  })
  return keys
}

/**
 * A key for this purpose alone (RFC 5869), so that a secret used for something else too gives nothing away; as a
 * KeyObject, which never shows its bytes when printed.
 */
function deriveKey(secret: unknown, index: number): KeyObject {
  if (typeof secret !== 'string' && !isBytes(secret))
    throw refused(
      'secret-type',
      `secrets[${index}] is neither a string nor a Uint8Array. If it comes from the environment, is that set?`,
    )
  const bytes = typeof secret === 'string' ? Buffer.from(secret) : secret
  // OWASP ASVS 5.0, 11.2.3: 128 bits of security at least, which text seldom has in less.
  if (bytes.length < MIN_SECRET_BYTES)
    throw refused(
      'secret-length',
      `secrets[${index}] has fewer than ${MIN_SECRET_BYTES} bytes. Make one with: openssl rand -base64 32`,
    )
  const key = crypto.hkdfSync('sha256', bytes, '', 'holdfast cookie signature 1', 32)
  return crypto.createSecretKey(new Uint8Array(key))
}

/** Also one of another realm, as in a vm; `node:util` would tell, and costs every program's start three milliseconds. */
function isBytes(value: unknown): value is Uint8Array {
  return Reflect.get(TYPED_ARRAY, Symbol.toStringTag, value) === 'Uint8Array'
}

/** Its tag is read off what an array is made of, and not off a property that anyone can set. */
const TYPED_ARRAY = Object.getPrototypeOf(Uint8Array.prototype) as object

const MIN_SECRET_BYTES = 32

function refused(rule: string, message: string): SessionError {
  return new SessionError('ERR_SESSION_OPTION', message, { rule })
}
