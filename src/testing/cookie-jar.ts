import { Buffer } from 'node:buffer'

import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'

/**
 * A model of how a browser keeps cookies: what it stores, replaces, refuses and sends back (6265bis 5.6 to 5.8). It knows one
 * top-level site, and no list of public suffixes beyond the names of a single label.
 */
export class CookieJar {
  readonly #clock: Clock
  /** By name, domain and path; in the order of their creation, which a replacement keeps. */
  readonly #cookies = new Map<string, Cookie>()

  /** @param options the clock that cookies age by */
  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock
  }

  /** How many cookies there are that have not run out. */
  get size(): number {
    this.#dropExpired()
    return this.#cookies.size
  }

  /**
   * Takes in an answer's Set-Cookie lines, as far as a browser would.
   * @param url of the request that was answered
   */
  store(lines: readonly string[], url: string | URL): void {
    const from = new URL(url)
    for (const line of lines) {
      const cookie = parse(line, from, this.#clock.now())
      if (cookie === null || (!isTrustworthy(from) && this.#isShielded(cookie))) continue
      this.#cookies.set(`${cookie.name}\0${cookie.domain}\0${cookie.isHostOnly}\0${cookie.path}`, cookie)
    }
    this.#dropExpired()
  }

  /** The Cookie header that a browser would send with a request for `url`; null for none. */
  header(url: string | URL): string | null {
    this.#dropExpired()
    const to = new URL(url)
    const cookies = [...this.#cookies.values()].filter(
      ({ domain, path, isHostOnly, isSecure }) =>
        (isHostOnly ? to.hostname === domain : isWithin(to.hostname, domain)) &&
        isUnder(to.pathname, path) &&
        (!isSecure || isTrustworthy(to)),
    )
    // 6265bis 5.8.3: the longer paths first.
    cookies.sort((a, b) => b.path.length - a.path.length)
    if (cookies.length === 0) return null
    return cookies.map(({ name, value }) => (name === '' ? value : `${name}=${value}`)).join('; ')
  }

  /** 6265bis 5.7: a page without https can neither replace a Secure cookie nor put one of the same name before it. */
  #isShielded(cookie: Cookie): boolean {
    return [...this.#cookies.values()].some(
      ({ name, domain, path, isSecure }) =>
        isSecure &&
        name === cookie.name &&
        (isWithin(domain, cookie.domain) || isWithin(cookie.domain, domain)) &&
        isUnder(cookie.path, path),
    )
  }

  #dropExpired(): void {
    const now = this.#clock.now()
    for (const [key, { expiresAt }] of this.#cookies) if (expiresAt <= now) this.#cookies.delete(key)
  }
}

/** A browser with a {@link CookieJar}, to fetch with. */
export interface Browser {
  readonly jar: CookieJar
  /**
   * Fetches with the jar's cookies, and keeps those of the answer.
   * @param path relative to the origin
   * @param init redirects are followed with `redirect: 'follow'` only; a `Cookie` header of the caller's own takes the place of the jar's
   */
  readonly fetch: (path: string, init?: RequestInit) => Promise<Response>
}

/** Options of {@link createBrowser}. */
export interface BrowserOptions {
  /** Default: a new one. */
  jar?: CookieJar
  /** The clock of a new jar. Default: the machine's. */
  clock?: Clock
  /** Where the browser believes to be. Default: `http://localhost`. */
  origin?: string
}

/**
 * Makes a browser out of something to fetch with.
 * @param fetch takes an absolute URL: the global one, a framework's `app.request`, or one that hands `new Request(url, init)` to a handler
 */
export function createBrowser(
  fetch: (url: string, init: RequestInit) => Response | Promise<Response>,
  options: BrowserOptions = {},
): Browser {
  const { origin = 'http://localhost', jar = new CookieJar(options) } = options

  const send = async (url: URL, init: RequestInit): Promise<Response> => {
    const headers = new Headers(init.headers)
    const cookies = jar.header(url)
    if (cookies !== null && !headers.has('cookie')) headers.set('cookie', cookies)
    const response = await fetch(url.href, { ...init, headers, redirect: 'manual' })
    jar.store(response.headers.getSetCookie(), url)
    return response
  }

  return {
    jar,
    async fetch(path, init = {}) {
      let url = new URL(path, origin)
      let request = init
      let response = await send(url, request)
      for (let hops = 0; init.redirect === 'follow' && isRedirect(response); hops++) {
        if (hops === MAX_REDIRECTS) throw new Error(`${path} redirects more than ${MAX_REDIRECTS} times.`)
        await response.body?.cancel()
        url = new URL(response.headers.get('location')!, url)
        request = redirected(request, response.status)
        response = await send(url, request)
      }
      return response
    },
  }
}

interface Cookie {
  readonly name: string
  readonly value: string
  readonly domain: string
  readonly path: string
  readonly isHostOnly: boolean
  readonly isSecure: boolean
  /** Epoch milliseconds; Infinity for until the browser is closed. */
  readonly expiresAt: number
}

/** A Set-Cookie line, read (6265bis 5.6) and judged (5.7); null when a browser would ignore it. */
function parse(line: string, from: URL, now: number): Cookie | null {
  // 6265bis 5.6: control characters, tabs excepted, make the whole line void.
  // oxlint-disable-next-line no-control-regex
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) return null
  const [pair, ...parts] = line.split(';').map((part) => part.replace(/^[ \t]+|[ \t]+$/g, ''))
  const [name, value] = split(pair!, '')
  if (name + value === '' || Buffer.byteLength(name + value) > MAX_PAIR_BYTES) return null
  const attributes = new Map(
    parts.map((part) => split(part, part)).map(([key, of]) => [key.toLowerCase(), of]),
  )

  const named = attributes.get('domain')?.replace(/^\./, '').toLowerCase() ?? ''
  const isHostOnly = named === ''
  if (!isHostOnly && !isWithin(from.hostname, named)) return null
  // A public suffix of one label shares cookies with nobody; a host of that name keeps its own.
  const isSuffix = !isHostOnly && !named.includes('.')
  if (isSuffix && named !== from.hostname) return null

  const path = attributes.get('path')
  const cookie: Cookie = {
    name,
    value,
    domain: isHostOnly ? from.hostname : named,
    path: path?.startsWith('/') === true ? path : defaultPath(from.pathname),
    isHostOnly: isHostOnly || isSuffix,
    isSecure: attributes.has('secure'),
    expiresAt: expiryOf(attributes, now),
  }
  if (cookie.isSecure && !isTrustworthy(from)) return null
  if (attributes.get('samesite')?.toLowerCase() === 'none' && !cookie.isSecure) return null
  if (attributes.has('partitioned') && !cookie.isSecure) return null
  // 5.7 and layered-cookies 4.1.3, without regard to case: a prefix is a promise that the browser keeps.
  const isHostBound = cookie.isSecure && cookie.isHostOnly && path === '/'
  if (/^__Secure-/i.test(name) && !cookie.isSecure) return null
  if (/^__Host-/i.test(name) && !isHostBound) return null
  if (/^__(?:Host-)?Http-/i.test(name) && !(cookie.isSecure && attributes.has('httponly'))) return null
  return cookie
}

/** What stands before the first equals sign, and after it; without one, `name` and the whole of it. */
function split(part: string, name: string): [name: string, value: string] {
  const equals = part.indexOf('=')
  if (equals === -1) return [name, name === '' ? part : '']
  return [part.slice(0, equals).replace(/[ \t]+$/, ''), part.slice(equals + 1).replace(/^[ \t]+/, '')]
}

/** Max-Age goes before Expires (5.7); no cookie is kept for more than 400 days (5.5). */
function expiryOf(attributes: ReadonlyMap<string, string>, now: number): number {
  const maxAge = attributes.get('max-age') ?? ''
  const at = /^-?\d+$/.test(maxAge)
    ? now + Number(maxAge) * 1000
    : Date.parse(attributes.get('expires') ?? '')
  return Number.isNaN(at) ? Infinity : Math.min(at, now + MAX_AGE)
}

/** 5.1.4: the directory of the page that set it. */
function defaultPath(pathname: string): string {
  return pathname.slice(0, Math.max(1, pathname.lastIndexOf('/')))
}

/** 5.1.3: whether a host is the domain itself, or below it. */
function isWithin(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|^\[/.test(host))
}

/** 5.1.4: whether a path is the cookie's own, or below it. */
function isUnder(path: string, cookiePath: string): boolean {
  return path === cookiePath || path.startsWith(cookiePath.endsWith('/') ? cookiePath : `${cookiePath}/`)
}

/** Where browsers take and send Secure cookies: over https, and on the machine itself (W3C Secure Contexts 3.1). */
function isTrustworthy({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || /^(?:localhost|.+\.localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)
}

function isRedirect({ status, headers }: Response): boolean {
  return [301, 302, 303, 307, 308].includes(status) && headers.has('location')
}

/** Fetch 4.4: after a 303, and a POST answered by 301 or 302, comes a GET without a body. */
function redirected(init: RequestInit, status: number): RequestInit {
  const method = (init.method ?? 'GET').toUpperCase()
  const becomesGet = status === 303 ? method !== 'HEAD' : status < 303 && method === 'POST'
  if (!becomesGet) return init
  const { body: _, ...rest } = init
  return { ...rest, method: 'GET' }
}

const MAX_PAIR_BYTES = 4096
const MAX_AGE = 34_560_000_000
const MAX_REDIRECTS = 20
