import { createHash, createHmac } from 'node:crypto'
import { runInNewContext } from 'node:vm'

import fc from 'fast-check'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'

import { SessionError } from '../errors.ts'
import { createTokenCodec, createTokenSource, idOf, MAX_VALUE_LENGTH } from './token.ts'
import type { Secret } from './token.ts'

/** What the code under test asked of node:crypto. */
const asked = vi.hoisted(() => ({ pools: [] as Uint8Array[], hashed: 0, compared: 0 }))

vi.mock('node:crypto', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:crypto')>()
  return {
    ...real,
    randomFillSync: (pool: Uint8Array) => {
      asked.pools.push(pool)
      return real.randomFillSync(pool)
    },
    hash: (...given: Parameters<typeof real.hash>) => {
      asked.hashed++
      return real.hash(...given)
    },
    createHmac: (...given: Parameters<typeof real.createHmac>) => {
      asked.hashed++
      return real.createHmac(...given)
    },
    timingSafeEqual: (...given: Parameters<typeof real.timingSafeEqual>) => {
      asked.compared++
      return real.timingSafeEqual(...given)
    },
  }
})

beforeEach(() => {
  asked.pools = []
  asked.hashed = 0
  asked.compared = 0
})

const NAME = '__Host-session'
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** The bytes 0 to 31. */
const TOKEN = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'
const SECRET = 'an example secret of 32 bytes..!'

// S1: OWASP ASVS 5.0, 7.2.3 and 11.5.1.
describe('a million tokens', () => {
  const tokens = new Set<string>()
  const ids = new Set<string>()

  beforeAll(() => {
    const next = createTokenSource()
    for (let count = 0; count < 1_000_000; count++) {
      const { token, id } = next()
      tokens.add(token)
      ids.add(id)
    }
  })

  test('are all different', () => {
    expect(tokens.size).toBe(1_000_000)
  })

  test('lead to ids that are all different', () => {
    expect(ids.size).toBe(1_000_000)
  })

  test('are each 43 characters of base64url', () => {
    const misshapen = [...tokens].filter((token) => !/^[A-Za-z0-9_-]{43}$/.test(token))
    expect(misshapen).toEqual([])
  })

  test('use every character of the alphabet', () => {
    const characters = new Set([...tokens].slice(0, 1000).join(''))
    expect([...characters].toSorted()).toEqual([...BASE64URL].toSorted())
  })
})

describe('a token', () => {
  test('is 32 bytes', () => {
    expect(Buffer.from(createTokenSource()().token, 'base64url')).toHaveLength(32)
  })

  test('comes with the id that it leads to', () => {
    const { token, id } = createTokenSource()()
    expect(id).toBe(idOf(token))
  })

  test('is drawn from the random bytes, each used once', () => {
    const next = createTokenSource()
    const first = next().token
    const rest = Buffer.from(asked.pools[0]!).toString('hex')
    const second = next().token
    expect(rest).toContain(Buffer.from(second, 'base64url').toString('hex'))
    expect(rest).not.toContain(Buffer.from(first, 'base64url').toString('hex'))
  })

  test('is wiped from the pool once handed out', () => {
    const next = createTokenSource()
    for (let count = 0; count < 128; count++) next()
    expect(asked.pools).toHaveLength(1)
    expect(asked.pools[0]).toEqual(Buffer.alloc(4096))
  })

  test('costs nothing random before the first is asked for', () => {
    const next = createTokenSource()
    expect(asked.pools).toHaveLength(0)
    next()
    expect(asked.pools).toHaveLength(1)
  })

  test('of one source shares no pool with another', () => {
    createTokenSource()()
    createTokenSource()()
    expect(asked.pools[0]).not.toBe(asked.pools[1])
  })
})

describe('an id', () => {
  test('is the SHA-256 of the token, in base64url', () => {
    expect(idOf('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0')
    expect(idOf(TOKEN)).toBe(createHash('sha256').update(TOKEN).digest('base64url'))
  })

  test('is the same where crypto.hash is missing', async () => {
    vi.resetModules()
    vi.doMock('node:crypto', async (original) => ({ ...(await original<object>()), hash: undefined }))
    const older = await import('./token.ts')
    expect(older.idOf('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0')
  })
})

describe('without secrets', () => {
  const codec = createTokenCodec(undefined, NAME)

  test('the value is the token', () => {
    expect(codec.encode(TOKEN)).toBe(TOKEN)
  })

  test('the value leads to its token and id', () => {
    expect(codec.decode(TOKEN)).toEqual({ token: TOKEN, id: idOf(TOKEN) })
  })

  test('a signed value is not one of ours', () => {
    expect(codec.decode(createTokenCodec(SECRET, NAME).encode(TOKEN))).toBe('grammar')
  })

  test('a last character with padding bits set is refused', () => {
    const accepted = [...BASE64URL].filter((last) => codec.decode(TOKEN.slice(0, 42) + last) !== 'grammar')
    expect(accepted.join('')).toBe('AEIMQUYcgkosw048')
  })

  test('a value spelt in any other way is refused', () => {
    const value = createTokenSource()().token
    for (const other of [
      `${value}=`,
      `${value}\n`,
      ` ${value}`,
      `"${value}"`,
      value.slice(1),
      `A${value}`,
      `${value}A`,
    ])
      expect(codec.decode(other), other).toBe('grammar')
  })
})

describe('with a secret', () => {
  const codec = createTokenCodec(SECRET, NAME)
  // Computed apart, in Python. If it must change, every cookie out there stops working.
  const VALUE = `${TOKEN}.vKyzFB0oaCDKTHRPOhbzZA`

  test('the value is the token, a dot and its tag', () => {
    expect(codec.encode(TOKEN)).toBe(VALUE)
    expect(VALUE).toHaveLength(MAX_VALUE_LENGTH)
  })

  test('the value leads to its token and id', () => {
    expect(codec.decode(VALUE)).toEqual({ token: TOKEN, id: idOf(TOKEN) })
  })

  test('as bytes it signs as the same secret as text', () => {
    expect(createTokenCodec(Buffer.from(SECRET), NAME).encode(TOKEN)).toBe(VALUE)
    expect(createTokenCodec([new TextEncoder().encode(SECRET)], NAME).encode(TOKEN)).toBe(VALUE)
  })

  test('changed afterwards by its owner, it still signs as before', () => {
    const bytes = Buffer.from(SECRET)
    const own = createTokenCodec(bytes, NAME)
    bytes.fill(0)
    expect(own.encode(TOKEN)).toBe(VALUE)
  })

  test('a token alone is refused', () => {
    expect(codec.decode(TOKEN)).toBe('grammar')
  })

  test('a value with any one character changed is refused', () => {
    for (let at = 0; at < VALUE.length; at++)
      for (const other of `${BASE64URL}.=+/ \0é`) {
        const changed = VALUE.slice(0, at) + other + VALUE.slice(at + 1)
        if (changed !== VALUE) expect(codec.decode(changed), changed).toBeTypeOf('string')
      }
  })

  test('a tag under another token is refused', () => {
    const other = createTokenSource()().token
    expect(codec.decode(other + VALUE.slice(43))).toBe('signature')
  })

  test('a tag with padding bits set is refused without hashing', () => {
    const accepted = [...BASE64URL].filter((last) => codec.decode(VALUE.slice(0, -1) + last) !== 'grammar')
    expect(accepted.join('')).toBe('AQgw')
    expect(codec.decode(VALUE.slice(0, -1) + 'A')).not.toBe('grammar')
  })

  // S3, CVE-2013-0263.
  test('tags are compared in constant time', () => {
    codec.decode(VALUE)
    expect(asked.compared).toBe(1)
  })

  // S5, CVE-2023-48309.
  test('a value signed for another cookie name is refused', () => {
    for (const name of ['session', '__Host-session2', '__Host-sessio', '__host-session', ''])
      expect(codec.decode(createTokenCodec(SECRET, name).encode(TOKEN)), name).toBe('signature')
  })

  test('a value signed for another purpose is refused', () => {
    const context = `holdfast-cookie-1\0${NAME}\0${TOKEN}`
    for (const text of [context, TOKEN, NAME + TOKEN, `${NAME}=${TOKEN}`]) {
      const tag = createHmac('sha256', SECRET).update(text).digest().subarray(0, 16).toString('base64url')
      expect(codec.decode(`${TOKEN}.${tag}`), text).toBe('signature')
    }
  })
})

// S4, at the codec: nothing sent from outside throws, or leads anywhere.
describe('a value not made here', () => {
  const signed = createTokenCodec(SECRET, NAME)
  const unsigned = createTokenCodec(undefined, NAME)
  const genuine = signed.encode(TOKEN)
  const character = fc.constantFrom(...BASE64URL)
  const shaped = (length: number): fc.Arbitrary<string> =>
    fc.array(character, { minLength: length, maxLength: length }).map((all) => all.join(''))
  const values = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 100 }),
    fc.tuple(shaped(43), shaped(22)).map((parts) => parts.join('.')),
    shaped(43),
    fc.nat(66).map((length) => genuine.slice(0, length)),
  )

  test('is refused, whatever it is', () => {
    const answers = new Set<unknown>()
    fc.assert(
      fc.property(
        values.filter((value) => value !== genuine),
        (value) => {
          const answer = signed.decode(value)
          expect(answer === 'grammar' || answer === 'signature').toBe(true)
          answers.add(answer)
          unsigned.decode(value)
        },
      ),
      { numRuns: 10_000 },
    )
    expect(answers.size).toBe(2)
  })

  const MISSHAPEN: [string, string][] = [
    ['nothing', ''],
    ['a dot', '.'],
    ['NUL', '\0'],
    ['CR LF', `${genuine}\r\nSet-Cookie: a=b`],
    ['a line feed at its end', `${genuine}\n`],
    ['a letter before it', `A${genuine}`],
    ['a letter after it', `${genuine}A`],
    ['a path', '../../../../etc/passwd'],
    ['double quotes around it', `"${genuine}"`],
    ['blanks around it', ` ${genuine} `],
    ['padding', `${genuine}==`],
    ['base64 of the other alphabet', genuine.replace('A', '+')],
    ['another separator', genuine.replace('.', '~')],
    ['two tags', `${genuine}.${genuine.slice(44)}`],
    ['no tag', `${TOKEN}.`],
    ['letters that are not ASCII', genuine.replace('A', 'Ａ')],
    ['a letter that lower-cases to ASCII', genuine.replace('A', '\u212A')],
    ['a lone surrogate', genuine.replace('A', '\uD800')],
    ['a megabyte', 'A'.repeat(2 ** 20)],
    ['a megabyte after it', genuine + 'A'.repeat(2 ** 20)],
  ]
  test.each(MISSHAPEN)('is refused for its grammar, without hashing: %s', (_, value) => {
    expect(signed.decode(value)).toBe('grammar')
    expect(asked.hashed).toBe(0)
  })
})

// S7, OWASP ASVS 5.0, 11.2.2.
describe('secrets rotate', () => {
  const OLD = 'the old secret, of 32 bytes or so'
  const NEW = 'the new secret, of 32 bytes or so'
  const before = createTokenCodec([OLD], NAME)
  const during = createTokenCodec([NEW, OLD], NAME)
  const after = createTokenCodec([NEW], NAME)

  test('and the newest signs', () => {
    expect(during.encode(TOKEN)).toBe(after.encode(TOKEN))
    expect(during.encode(TOKEN)).not.toBe(before.encode(TOKEN))
  })

  test('and all of them verify', () => {
    expect(during.decode(before.encode(TOKEN))).toEqual({ token: TOKEN, id: idOf(TOKEN) })
    expect(during.decode(after.encode(TOKEN))).toEqual({ token: TOKEN, id: idOf(TOKEN) })
  })

  test('and one that was removed does not', () => {
    expect(after.decode(before.encode(TOKEN))).toBe('signature')
  })

  test('and the newest is tried first', () => {
    during.decode(after.encode(TOKEN))
    expect(asked.compared).toBe(1)
  })
})

// S6, OWASP ASVS 5.0, 11.2.3.
describe('secrets that are not fit are refused', () => {
  const UNFIT: [string, unknown, string, string][] = [
    ['an empty list', [], 'secret-missing', 'secrets is an empty list'],
    ['an empty string', '', 'secret-length', 'secrets[0]'],
    ['31 bytes of text', 's'.repeat(31), 'secret-length', 'secrets[0]'],
    ['31 bytes', new Uint8Array(31), 'secret-length', 'secrets[0]'],
    ['a short one behind a good one', [SECRET, 'short'], 'secret-length', 'secrets[1]'],
    ['null', null, 'secret-type', 'secrets[0]'],
    ['an unset variable in a list', [undefined], 'secret-type', 'secrets[0]'],
    ['an unset variable behind a good one', [SECRET, undefined], 'secret-type', 'secrets[1]'],
    ['a list of holes', Array(2), 'secret-type', 'secrets[0]'],
    ['a number', 42, 'secret-type', 'secrets[0]'],
    ['a list in a list', [[SECRET]], 'secret-type', 'secrets[0]'],
    ['an ArrayBuffer', new ArrayBuffer(32), 'secret-type', 'secrets[0]'],
    ['an array of 16-bit numbers', new Uint16Array(32), 'secret-type', 'secrets[0]'],
    ['what only calls itself bytes', { [Symbol.toStringTag]: 'Uint8Array' }, 'secret-type', 'secrets[0]'],
    [
      'the same twice',
      [SECRET, `${SECRET}2`, SECRET],
      'secret-duplicate',
      'secrets[2] is the same as secrets[0]',
    ],
    ['the same as text and as bytes', [SECRET, Buffer.from(SECRET)], 'secret-duplicate', 'secrets[1]'],
  ]
  test.each(UNFIT)('%s', (_, secrets, rule, words) => {
    const error = refusal(secrets)
    expect(error).toMatchObject({ code: 'ERR_SESSION_OPTION', rule })
    expect(error?.message).toContain(words)
  })

  test('unless they are 32 bytes, however few the characters', () => {
    expect(refusal('s'.repeat(32))).toBeNull()
    expect(refusal('ü'.repeat(16))).toBeNull()
    expect(refusal(new Uint8Array(32))).toBeNull()
    expect(refusal(runInNewContext('new Uint8Array(32)'))).toBeNull()
  })

  test('with no word of the secret itself', () => {
    for (const secrets of [['hunter2'], [`hunter2${SECRET}`, `hunter2${SECRET}`]]) {
      const error = refusal(secrets)!
      expect(JSON.stringify(error) + error.message + String(error.stack)).not.toContain('hunter2')
    }
  })

  function refusal(secrets: unknown): SessionError | null {
    try {
      createTokenCodec(secrets as Secret, NAME)
      return null
    } catch (error) {
      expect(error).toBeInstanceOf(SessionError)
      return error as SessionError
    }
  }
})
