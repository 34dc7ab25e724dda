import { describe, expect, test } from 'vitest'

import { ManualClock } from './clock.ts'
import { CookieJar, createBrowser } from './cookie-jar.ts'

const HTTPS = 'https://app.example.com/'

/** What a jar sends to `to` after an answer from `from` with these lines. */
function sent(lines: string | string[], to = HTTPS, from = to): string | null {
  const jar = new CookieJar()
  jar.store([lines].flat(), from)
  return jar.header(to)
}

describe('a cookie jar', () => {
  test('sends back what it was given', () => {
    expect(sent(['a=1', 'b=2; HttpOnly; SameSite=Lax'])).toBe('a=1; b=2')
    expect(new CookieJar().header(HTTPS)).toBeNull()
  })

  test('trims blanks, keeps quotes, and takes a nameless cookie by its value', () => {
    expect(sent([' a = 1 \t; Path=/', 'b="2"', 'c==', '; Path=/', '3'])).toBe('a=1; b="2"; c==; 3')
  })

  test('refuses lines with control characters, and pairs of more than 4096 bytes', () => {
    expect(sent(['a=1\u0000', 'b=\u007f2', 'c=\t3'])).toBe('c=3')
    expect(sent(`a=${'x'.repeat(4095)}`)).toHaveLength(4097)
    expect(sent(`a=${'x'.repeat(4096)}`)).toBeNull()
    expect(sent(`a=${'é'.repeat(2048)}`)).toBeNull()
  })

  test('replaces the cookie of the same name, domain and path, in its place', () => {
    expect(sent(['a=1', 'b=2', 'a=3'])).toBe('a=3; b=2')
    expect(sent(['a=1', 'a=2; Path=/x', 'a=3; Domain=example.com'], `${HTTPS}x`, HTTPS)).toBe('a=2; a=1; a=3')
  })

  test.each([
    ['/', '/', true],
    ['/', '/any/where', true],
    ['/app', '/app', true],
    ['/app', '/app/', true],
    ['/app', '/app/x', true],
    ['/app', '/apple', false],
    ['/app', '/', false],
    ['/app/', '/app', false],
    ['/app/', '/app/x', true],
  ])('Path=%s reaches %s: %s', (path, to, isSent) => {
    expect(sent(`a=1; Path=${path}`, `https://app.example.com${to}`)).toBe(isSent ? 'a=1' : null)
  })

  test('without a path, keeps a cookie to the directory of the page', () => {
    for (const line of ['a=1', 'a=1; Path', 'a=1; Path=x']) {
      expect(sent(line, `${HTTPS}shop/cart`, `${HTTPS}shop/item`)).toBe('a=1')
      expect(sent(line, HTTPS, `${HTTPS}shop/item`)).toBeNull()
      expect(sent(line, `${HTTPS}shop/cart`, `${HTTPS}shop`)).toBe('a=1')
    }
  })

  test('sends the longer path first', () => {
    expect(sent(['a=1; Path=/', 'a=2; Path=/x/y', 'a=3; Path=/x'], `${HTTPS}x/y`)).toBe('a=2; a=3; a=1')
  })

  test.each([
    ['', 'app.example.com', true],
    ['', 'x.app.example.com', false],
    ['; Domain=app.example.com', 'x.app.example.com', true],
    ['; Domain=example.com', 'other.example.com', true],
    ['; Domain=.Example.COM', 'other.example.com', true],
    ['; Domain=example.com', 'badexample.com', false],
    ['; Domain=x.app.example.com', 'x.app.example.com', false],
    ['; Domain=elsewhere.com', 'app.example.com', false],
    ['; Domain=com', 'app.example.com', false],
    ['; Domain=', 'app.example.com', true],
    ['; Domain=', 'x.app.example.com', false],
  ])('"%s" reaches %s: %s', (domain, host, isSent) => {
    expect(sent(`a=1${domain}`, `https://${host}/`, HTTPS)).toBe(isSent ? 'a=1' : null)
  })

  test('matches an IP address as a whole only', () => {
    expect(sent('a=1; Domain=0.0.1', 'http://127.0.0.1/')).toBeNull()
    expect(sent('a=1', 'http://127.0.0.1/')).toBe('a=1')
  })

  test('takes and sends Secure cookies over https, and on the machine itself', () => {
    expect(sent('a=1; Secure')).toBe('a=1')
    expect(sent('a=1; Secure', 'http://app.example.com/', HTTPS)).toBeNull()
    expect(sent('a=1; Secure', HTTPS, 'http://app.example.com/')).toBeNull()
    for (const local of [
      'http://localhost:3000/',
      'http://app.localhost/',
      'http://127.0.0.1/',
      'http://[::1]:80/',
    ])
      expect(sent('a=1; Secure', local)).toBe('a=1')
    expect(sent('a=1; Secure', 'http://localhost.example.com/')).toBeNull()
  })

  test('lets no plain page replace a Secure cookie, nor hide it by another', () => {
    const jar = new CookieJar()
    jar.store(['a=secret; Secure; Path=/x', 'b=1; Secure; Domain=example.com'], HTTPS)
    const plain = 'http://app.example.com/'
    jar.store(['a=2; Path=/x', 'a=3; Path=/x/y', 'b=4', 'a=5; Path=/', 'c=6'], plain)
    expect(jar.header(`${HTTPS}x/y`)).toBe('a=secret; b=1; a=5; c=6')
  })

  test.each([
    ['__Secure-a=1; Secure', true],
    ['__Secure-a=1', false],
    ['__secure-a=1', false],
    ['__Host-a=1; Secure; Path=/', true],
    ['__Host-a=1; Secure', false],
    ['__Host-a=1; Path=/', false],
    ['__host-a=1; Path=/', false],
    ['__Host-a=1; Secure; Path=/x', false],
    ['__Host-a=1; Secure; Path=/; Domain=app.example.com', false],
    ['__Http-a=1; Secure; HttpOnly', true],
    ['__Http-a=1; Secure', false],
    ['__Host-Http-a=1; Secure; Path=/', false],
    ['__Host-Http-a=1; Secure; HttpOnly; Path=/', true],
    ['a=1; SameSite=None', false],
    ['a=1; SameSite=None; Secure', true],
    ['a=1; Partitioned', false],
    ['a=1; Partitioned; Secure', true],
  ])('%s is taken: %s', (line, isTaken) => {
    expect(sent(line, HTTPS)).toBe(isTaken ? line.split(';')[0] : null)
  })

  test('keeps a cookie until its time, at most 400 days', async () => {
    const clock = new ManualClock()
    const jar = new CookieJar({ clock })
    jar.store(
      [
        'short=1; Max-Age=60',
        `date=1; Expires=${new Date(clock.now() + 120_000).toUTCString()}`,
        `both=1; Max-Age=60; Expires=${new Date(clock.now() + 120_000).toUTCString()}`,
        'odd=1; Max-Age=1x',
        'long=1; Max-Age=99999999999',
      ],
      HTTPS,
    )
    expect(jar.size).toBe(5)
    await clock.advance(59_999)
    expect(jar.header(HTTPS)).toContain('short')
    await clock.advance(1)
    expect(jar.header(HTTPS)).toBe('date=1; odd=1; long=1')
    await clock.advance(60_000)
    expect(jar.header(HTTPS)).toBe('odd=1; long=1')
    await clock.advance(400 * 86_400_000)
    expect(jar.header(HTTPS)).toBe('odd=1')
  })

  test.each(['Max-Age=0', 'Max-Age=-1', 'Expires=Thu, 01 Jan 1970 00:00:00 GMT'])('%s removes it', (past) => {
    const jar = new CookieJar()
    jar.store(['a=1; Path=/', 'b=2; Path=/'], HTTPS)
    jar.store([`a=; ${past}; Path=/`, `b=; ${past}; Path=/x`], HTTPS)
    expect(jar.header(HTTPS)).toBe('b=2')
    expect(jar.size).toBe(1)
  })
})

describe('a browser', () => {
  /** Answers with its request: method, path, cookie, body. */
  const echo = async (url: string, init: RequestInit): Promise<Response> => {
    const request = new Request(url, init)
    const text = `${request.method} ${url} ${request.headers.get('cookie')} ${await request.text()}`
    return new Response(text, { headers: { 'Set-Cookie': `last=${new URL(url).pathname.slice(1)}; Path=/` } })
  }

  test('keeps the cookies of answers and sends them back', async () => {
    const browser = createBrowser(echo, { origin: 'https://app.example.com' })
    const first = await browser.fetch('/one')
    expect(await first.text()).toBe('GET https://app.example.com/one null ')
    const second = await browser.fetch('/two?q', { method: 'POST', body: 'hello' })
    expect(await second.text()).toBe('POST https://app.example.com/two?q last=one hello')
    expect(browser.jar.header('https://app.example.com/')).toBe('last=two')
  })

  test('shares a jar, ages by the clock, and yields to a Cookie header of the caller', async () => {
    const clock = new ManualClock()
    const one = createBrowser(() => new Response('', { headers: { 'Set-Cookie': 'a=1; Max-Age=5' } }), {
      clock,
    })
    await one.fetch('/')
    const two = createBrowser(echo, { jar: one.jar })
    expect(await (await two.fetch('/')).text()).toContain('a=1')
    expect(await (await two.fetch('/', { headers: { Cookie: 'mine=1' } })).text()).toContain(' mine=1 ')
    await clock.advance(5000)
    expect(one.jar.header('http://localhost/')).toBe('last=')
  })

  test.each([
    [301, 'GET', 'GET'],
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [302, 'PUT', 'PUT'],
    [303, 'POST', 'GET'],
    [303, 'PUT', 'GET'],
    [303, 'HEAD', 'HEAD'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
  ])('after %i follows a %s by a %s, when asked to', async (status, method, then) => {
    const seen: string[] = []
    const browser = createBrowser(async (url, init) => {
      const request = new Request(url, init)
      seen.push(
        `${request.method} ${new URL(url).pathname} ${request.headers.get('cookie')} ${await request.text()}`,
      )
      return url.endsWith('/from')
        ? new Response(null, { status, headers: { Location: 'to', 'Set-Cookie': 'a=1' } })
        : new Response()
    })
    const body = method === 'GET' || method === 'HEAD' ? null : 'body'
    const stayed = await browser.fetch('/x/from', { method, body })
    expect(stayed.status).toBe(status)
    expect(seen).toEqual([`${method} /x/from null ${body ?? ''}`])
    const followed = await browser.fetch('/x/from', { method, body, redirect: 'follow' })
    expect(followed.status).toBe(200)
    expect(seen[2]).toBe(`${then} /x/to a=1 ${then === method ? (body ?? '') : ''}`)
  })

  test('follows no more than 20 redirects', async () => {
    let requests = 0
    const browser = createBrowser(() => {
      requests++
      return new Response(null, { status: 302, headers: { Location: '/' } })
    })
    await expect(browser.fetch('/', { redirect: 'follow' })).rejects.toThrow('20 times')
    expect(requests).toBe(21)
  })
})
