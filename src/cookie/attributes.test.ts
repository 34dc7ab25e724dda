import { describe, expect, test } from 'vitest'

import { SessionError } from '../errors.ts'
import { resolveCookie } from './attributes.ts'
import type { CookieOptions } from './attributes.ts'

/** What resolving throws, or null. Takes anything, as JavaScript would. */
function refusal(options: unknown, development = false): SessionError | null {
  try {
    resolveCookie(options as CookieOptions, development)
    return null
  } catch (error) {
    expect(error).toBeInstanceOf(SessionError)
    return error as SessionError
  }
}

describe('defaults', () => {
  test('are the safest that browsers know', () => {
    expect(resolveCookie(undefined, false)).toEqual({
      name: '__Host-session',
      maxAge: null,
      path: '/',
      domain: null,
      secure: true,
      httpOnly: true,
      sameSite: 'lax',
      partitioned: false,
      priority: null,
      always: false,
      suffix: '; Path=/; HttpOnly; Secure; SameSite=Lax',
    })
  })

  test('in development do without https and without a prefix', () => {
    expect(resolveCookie({}, true)).toMatchObject({ name: 'session', secure: false, httpOnly: true })
  })

  test('count undefined and null as left out', () => {
    const nothing = { name: undefined, path: null, domain: null, secure: undefined, sameSite: null } as object
    expect(resolveCookie(nothing, false)).toEqual(resolveCookie(undefined, false))
  })

  test('cannot be changed once resolved', () => {
    expect(resolveCookie({}, false)).toSatisfy(Object.isFrozen)
  })

  const NAMES: [CookieOptions, boolean, string][] = [
    [{ httpOnly: false }, false, '__Host-session'],
    [{ sameSite: 'none', partitioned: true }, false, '__Host-session'],
    [{ domain: 'example.com' }, false, '__Secure-session'],
    [{ path: '/app' }, false, '__Secure-session'],
    [{ secure: false }, false, 'session'],
    [{ secure: false, domain: 'example.com' }, false, 'session'],
    [{ domain: 'example.com', path: '/app' }, true, 'session'],
    [{ secure: true }, true, 'session'],
    [{ name: 'sid' }, false, 'sid'],
  ]
  test.each(NAMES)('name for %o, in development %o, is %s', (options, development, name) => {
    expect(resolveCookie(options, development).name).toBe(name)
  })

  const SECURE_IN_DEVELOPMENT: CookieOptions[] = [
    { name: '__Host-app' },
    { name: '__secure-app' },
    { name: '__Http-app' },
    { name: '__Host-Http-app' },
    { sameSite: 'none' },
    { partitioned: true },
  ]
  test.each(SECURE_IN_DEVELOPMENT)('keep Secure in development where %o needs it', (options) => {
    expect(resolveCookie(options, true).secure).toBe(true)
  })
})

describe('a browser would take', () => {
  const TAKEN: [CookieOptions, string][] = [
    [{ sameSite: 'strict' }, '; Path=/; HttpOnly; Secure; SameSite=Strict'],
    [{ sameSite: 'none' }, '; Path=/; HttpOnly; Secure; SameSite=None'],
    [{ secure: false, httpOnly: false }, '; Path=/; SameSite=Lax'],
    [{ partitioned: true }, '; Path=/; HttpOnly; Secure; SameSite=Lax; Partitioned'],
    [{ priority: 'low' }, '; Path=/; HttpOnly; Secure; SameSite=Lax; Priority=Low'],
    [
      {
        name: 'a',
        domain: 'Sub.example.com',
        path: '/a',
        sameSite: 'none',
        partitioned: true,
        priority: 'high',
      },
      '; Domain=Sub.example.com; Path=/a; HttpOnly; Secure; SameSite=None; Partitioned; Priority=High',
    ],
    [{ name: '__Host-Http-id' }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [
      { name: '__Secure-id', domain: 'xn--bcher-kva.example' },
      '; Domain=xn--bcher-kva.example; Path=/; HttpOnly; Secure; SameSite=Lax',
    ],
    [
      { name: '__Http-id', domain: 'a_b.3com.example' },
      '; Domain=a_b.3com.example; Path=/; HttpOnly; Secure; SameSite=Lax',
    ],
    [
      { path: "/%C3%BC/a.b-c_d~e!$&'()*+:@=/" },
      "; Path=/%C3%BC/a.b-c_d~e!$&'()*+:@=/; HttpOnly; Secure; SameSite=Lax",
    ],
    [{ maxAge: 1 }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [{ maxAge: 34_560_000 }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [{ maxAge: 'session', always: true }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [{ name: "!#$%&'*+-.^_`|~09azAZ" }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [{ name: 'n'.repeat(4030) }, '; Path=/; HttpOnly; Secure; SameSite=Lax'],
    [{ path: `/${'p'.repeat(1023)}` }, `; Path=/${'p'.repeat(1023)}; HttpOnly; Secure; SameSite=Lax`],
  ]
  test.each(TAKEN)('%o', (options, suffix) => {
    expect(resolveCookie(options, false)).toMatchObject({ ...options, suffix })
  })
})

// S10, CVE-2024-47764.
describe('a browser would refuse, so that construction does', () => {
  const LONG_LABEL = 'l'.repeat(64)
  const LONG_DOMAIN = `${'label.'.repeat(42)}ab`
  const REFUSED: [string, unknown][] = [
    ['cookie-prefix-secure', { name: '__Secure-id', secure: false }],
    ['cookie-prefix-secure', { name: '__SECURE-id', secure: false }],
    ['cookie-prefix-host', { name: '__Host-id', secure: false }],
    ['cookie-prefix-host', { name: '__Host-id', domain: 'example.com' }],
    ['cookie-prefix-host', { name: '__Host-id', path: '/app' }],
    ['cookie-prefix-host', { name: '__hOST-id', path: '/app' }],
    ['cookie-prefix-http', { name: '__Http-id', secure: false }],
    ['cookie-prefix-http', { name: '__Http-id', httpOnly: false }],
    ['cookie-prefix-host-http', { name: '__Host-Http-id', secure: false }],
    ['cookie-prefix-host-http', { name: '__Host-Http-id', httpOnly: false }],
    ['cookie-prefix-host-http', { name: '__Host-Http-id', domain: 'example.com' }],
    ['cookie-prefix-host-http', { name: '__host-http-id', path: '/app' }],
    ['cookie-samesite-none-secure', { sameSite: 'none', secure: false }],
    ['cookie-partitioned-secure', { partitioned: true, secure: false }],
    ['cookie-max-age', { maxAge: 0 }],
    ['cookie-max-age', { maxAge: -1 }],
    ['cookie-max-age', { maxAge: 1.5 }],
    ['cookie-max-age', { maxAge: 34_560_001 }],
    ['cookie-max-age', { maxAge: NaN }],
    ['cookie-max-age', { maxAge: Infinity }],
    ['cookie-max-age', { maxAge: '3600' }],
    ['cookie-name', { name: '' }],
    ['cookie-name', { name: 'a b' }],
    ['cookie-name', { name: 'a=b' }],
    ['cookie-name', { name: 'a;b' }],
    ['cookie-name', { name: 'a,b' }],
    ['cookie-name', { name: 'a"b' }],
    ['cookie-name', { name: 'a\0' }],
    ['cookie-name', { name: 'a\r\nSet-Cookie: b=c' }],
    ['cookie-name', { name: 'a\n' }],
    ['cookie-name', { name: 'sitzung-für-dich' }],
    ['cookie-name', { name: 42 }],
    ['cookie-name', { name: Symbol('id') }],
    ['cookie-name-length', { name: 'n'.repeat(4031) }],
    ['cookie-path', { path: '' }],
    ['cookie-path', { path: 'app' }],
    ['cookie-path', { path: '/a; Domain=evil.example' }],
    ['cookie-path', { path: '/a,b' }],
    ['cookie-path', { path: '/a b' }],
    ['cookie-path', { path: '/a?b' }],
    ['cookie-path', { path: '/a\r\n' }],
    ['cookie-path', { path: '/a\n' }],
    ['cookie-path', { path: '/\x7F' }],
    ['cookie-path', { path: '/ü' }],
    ['cookie-path', { path: ['/app'] }],
    ['cookie-path-length', { path: `/${'p'.repeat(1024)}` }],
    ['cookie-domain', { domain: '' }],
    ['cookie-domain', { domain: '.example.com' }],
    ['cookie-domain', { domain: 'example.com.' }],
    ['cookie-domain', { domain: 'example..com' }],
    ['cookie-domain', { domain: 'com' }],
    ['cookie-domain', { domain: 'localhost' }],
    ['cookie-domain', { domain: '127.0.0.1' }],
    ['cookie-domain', { domain: '0x7f.0X1' }],
    ['cookie-domain', { domain: '[::1]' }],
    ['cookie-domain', { domain: 'example.com:8080' }],
    ['cookie-domain', { domain: 'https://example.com' }],
    ['cookie-domain', { domain: '*.example.com' }],
    ['cookie-domain', { domain: '-a.example.com' }],
    ['cookie-domain', { domain: 'example.com; Secure' }],
    ['cookie-domain', { domain: 'example.com,example.org' }],
    ['cookie-domain', { domain: 'example.com\n' }],
    ['cookie-domain', { domain: 'bücher.example' }],
    ['cookie-domain', { domain: 'boo\u212A.example' }],
    ['cookie-domain', { domain: `${LONG_LABEL}.example` }],
    ['cookie-domain', { domain: LONG_DOMAIN }],
    ['cookie-domain', { domain: ['example.com'] }],
    ['cookie-boolean', { secure: 'auto' }],
    ['cookie-boolean', { httpOnly: 1 }],
    ['cookie-boolean', { partitioned: 'yes' }],
    ['cookie-boolean', { always: 'true' }],
    ['cookie-samesite', { sameSite: 'Lax' }],
    ['cookie-samesite', { sameSite: true }],
    ['cookie-priority', { priority: 'High' }],
    ['cookie-unknown-option', { httponly: true }],
    ['cookie-unknown-option', { expires: new Date(0) }],
    ['cookie-unknown-option', ['name']],
    ['cookie-options', 'session'],
    ['cookie-options', true],
  ]
  test.each(REFUSED)('rule %s: %o', (rule, options) => {
    expect(refusal(options)).toMatchObject({ code: 'ERR_SESSION_OPTION', rule })
  })

  test('whether or not in development', () => {
    expect(refusal({ name: '__Host-id', secure: false }, true)?.rule).toBe('cookie-prefix-host')
  })
})

describe('an unknown option', () => {
  const NEAREST: [string, string][] = [
    ['httponly', 'httpOnly'],
    ['http_only', 'httpOnly'],
    ['samesite', 'sameSite'],
    ['max-age', 'maxAge'],
    ['secrue', 'secure'],
    ['domains', 'domain'],
  ]
  test.each(NEAREST)('%s is answered with %s', (wrong, right) => {
    expect(refusal({ [wrong]: true })?.message).toContain(
      `${wrong} is not an option; the nearest is ${right}.`,
    )
  })
})
