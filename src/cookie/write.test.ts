import { describe, expect, test } from 'vitest'

import { SessionError } from '../errors.ts'
import { resolveCookie } from './attributes.ts'
import type { CookieAttributes, CookieOptions } from './attributes.ts'
import { clearCookie, writeCookie } from './write.ts'

// S9.
describe('the cookie is written', () => {
  const attributes = resolveCookie(undefined, false)

  test('with the safe defaults', () => {
    expect(writeCookie(attributes, 'v', 86_400)).toBe(
      '__Host-session=v; Max-Age=86400; Path=/; HttpOnly; Secure; SameSite=Lax',
    )
  })

  test('without Max-Age, to last until the browser is closed', () => {
    expect(writeCookie(attributes, 'v', null)).toBe(
      '__Host-session=v; Path=/; HttpOnly; Secure; SameSite=Lax',
    )
  })

  test('with every attribute there is', () => {
    const all = resolveCookie(
      {
        name: 'id',
        domain: 'example.com',
        path: '/a',
        sameSite: 'none',
        partitioned: true,
        priority: 'high',
      },
      false,
    )
    expect(writeCookie(all, 'v', 60)).toBe(
      'id=v; Max-Age=60; Domain=example.com; Path=/a; HttpOnly; Secure; SameSite=None; Partitioned; Priority=High',
    )
  })

  test('for development', () => {
    expect(writeCookie(resolveCookie({}, true), 'v', 60)).toBe(
      'session=v; Max-Age=60; Path=/; HttpOnly; SameSite=Lax',
    )
  })

  const AGES: [number, string][] = [
    [1.999, 'Max-Age=1;'],
    [34_560_000, 'Max-Age=34560000;'],
    [34_560_000.5, 'Max-Age=34560000;'],
    [1e21, 'Max-Age=34560000;'],
    [Infinity, 'Max-Age=34560000;'],
    [0.5, 'Max-Age=0;'],
    [-5, 'Max-Age=0;'],
  ]
  test.each(AGES)('with an age of %d as %s', (age, written) => {
    expect(writeCookie(attributes, 'v', age)).toContain(` ${written} `)
  })
})

describe('the cookie is cleared', () => {
  test('with Max-Age=0 and a past Expires', () => {
    expect(clearCookie(resolveCookie(undefined, false))).toBe(
      '__Host-session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Lax',
    )
  })

  // S14.
  test('from a browser, for every attribute set', () => {
    for (const attributes of resolvable()) {
      const jar = new Jar()
      jar.receive(writeCookie(attributes, 'v', 60))
      expect(jar.size, attributes.suffix).toBe(1)
      jar.receive(clearCookie(attributes))
      expect(jar.size, attributes.suffix).toBe(0)
    }
  })

  test('from a client that does not know Max-Age, for every attribute set', () => {
    for (const attributes of resolvable()) {
      const jar = new Jar()
      jar.receive(writeCookie(attributes, 'v', 60))
      jar.receive(clearCookie(attributes).replace('Max-Age=0; ', ''))
      expect(jar.size, attributes.suffix).toBe(0)
    }
  })

  test('and leaves the cookies of other attribute sets', () => {
    const jar = new Jar()
    const wide = resolveCookie({ name: 'id', domain: 'example.com' }, false)
    const narrow = resolveCookie({ name: 'id' }, false)
    jar.receive(writeCookie(wide, 'v', 60))
    jar.receive(writeCookie(narrow, 'v', 60))
    jar.receive(clearCookie(narrow))
    expect(jar.size).toBe(1)
  })
})

// S10: the rules and a browser are of one mind.
test('an attribute set is refused exactly when a browser would refuse its cookie', () => {
  let refused = 0
  for (const options of everyOption()) {
    const attributes = resolve(options)
    if (attributes === null) refused++
    const line = writeCookie(
      { ...options, suffix: attributes?.suffix ?? naiveSuffix(options) } as never,
      'v',
      60,
    )
    const jar = new Jar()
    jar.receive(line)
    expect(jar.size, line).toBe(attributes === null ? 0 : 1)
  }
  expect(refused).toBeGreaterThan(100)
})

type EveryOption = Required<Omit<CookieOptions, 'maxAge' | 'always' | 'domain'>> & { domain?: string }

function* everyOption(): Generator<EveryOption> {
  for (const name of ['session', '__Secure-id', '__Host-id', '__Http-id', '__Host-Http-id', '__hOsT-hTtP-id'])
    for (const domain of [undefined, 'example.com', 'app.example.com'])
      for (const path of ['/', '/app'])
        for (const secure of [true, false])
          for (const httpOnly of [true, false])
            for (const sameSite of ['strict', 'lax', 'none'] as const)
              for (const partitioned of [true, false])
                for (const priority of ['low', 'high'] as const)
                  yield Object.assign(
                    { name, path, secure, httpOnly, sameSite, partitioned, priority },
                    domain !== undefined && { domain },
                  )
}

function* resolvable(): Generator<CookieAttributes> {
  for (const options of everyOption()) {
    const attributes = resolve(options)
    if (attributes !== null) yield attributes
  }
}

function resolve(options: CookieOptions): CookieAttributes | null {
  try {
    return resolveCookie(options, false)
  } catch (error) {
    expect(error).toBeInstanceOf(SessionError)
    return null
  }
}

/** The attributes of an option set that {@link resolveCookie} would not write. */
function naiveSuffix({ domain, path, secure, httpOnly, sameSite, partitioned }: EveryOption): string {
  return [
    domain === undefined ? '' : `; Domain=${domain}`,
    `; Path=${path}; SameSite=${sameSite}`,
    secure ? '; Secure' : '',
    httpOnly ? '; HttpOnly' : '',
    partitioned ? '; Partitioned' : '',
  ].join('')
}

/** A browser at `https://app.example.com/app/`, as far as 6265bis 5.6 and 5.7, layered cookies and CHIPS go. */
class Jar {
  readonly #cookies = new Set<string>()

  get size(): number {
    return this.#cookies.size
  }

  receive(line: string): void {
    const [pair, ...rest] = line.split(';')
    const name = pair!.slice(0, pair!.indexOf('=')).trim()
    const attributes = new Map(
      rest.map((attribute) => {
        const [key, ...value] = attribute.split('=')
        return [key!.trim().toLowerCase(), value.join('=').trim()]
      }),
    )
    const secure = attributes.has('secure')
    const http = attributes.has('httponly') && secure
    const partitioned = attributes.has('partitioned')
    const domain = attributes.get('domain')?.toLowerCase()
    const path = attributes.get('path')!
    const host = secure && domain === undefined && path === '/'

    if (domain !== undefined && !'app.example.com'.endsWith(domain)) return
    if (attributes.get('samesite')!.toLowerCase() === 'none' && !secure) return
    if (partitioned && !secure) return
    const prefix = name.toLowerCase()
    if (prefix.startsWith('__secure-') && !secure) return
    if (prefix.startsWith('__host-') && !host) return
    if (prefix.startsWith('__http-') && !http) return
    if (prefix.startsWith('__host-http-') && !(host && http)) return

    const maxAge = attributes.get('max-age')
    const expires = attributes.get('expires')
    const over = maxAge === undefined ? Date.parse(expires ?? '') < Date.now() : Number(maxAge) <= 0
    const key = JSON.stringify([name, domain ?? 'app.example.com', domain === undefined, path, partitioned])
    if (over) this.#cookies.delete(key)
    else this.#cookies.add(key)
  }
}
