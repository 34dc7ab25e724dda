/** Where a request's cookie comes from: a request of either kind, its headers, or the Cookie header itself. */
export type CookieSource = WebRequest | NodeRequest | WebHeaders | string | null | undefined

/** The part of a Web-standard `Headers` that is used here. */
export interface WebHeaders {
  get(name: string): string | null
}

/** The part of a Web-standard `Request` that is used here. */
export interface WebRequest {
  readonly url: string
  readonly headers: WebHeaders
}

/** The part of an `http.IncomingMessage` that is used here; HTTP/2's compatibility requests have it too. */
export interface NodeRequest {
  readonly headers: { readonly [name: string]: string | string[] | undefined }
  readonly socket: object
}

/** The request's Cookie header; undefined or null where there is none. */
export function cookieHeaderOf(source: CookieSource): string | null | undefined {
  if (typeof source !== 'object' || source === null) return source
  if (isHeaders(source)) return source.get('cookie')
  if (isHeaders(source.headers)) return source.headers.get('cookie')
  return single(source.headers.cookie)
}

/** A request's header, by its name in lower case; null where there is none, or only the Cookie header is known. */
export function headerOf(source: CookieSource, name: string): string | null {
  if (typeof source !== 'object' || source === null) return null
  if (isHeaders(source)) return source.get(name)
  return isHeaders(source.headers) ? source.headers.get(name) : (single(source.headers[name]) ?? null)
}

/**
 * The address that a request came from; null where nothing tells.
 * @param trustProxy whether the last entry of X-Forwarded-For counts, which the proxy in front added; those before it anyone can send
 */
export function addressOf(source: CookieSource, trustProxy: boolean): string | null {
  const forwarded = trustProxy ? headerOf(source, 'x-forwarded-for')?.split(',').at(-1)?.trim() : ''
  if (forwarded) return forwarded
  const isNode = typeof source === 'object' && source !== null && 'socket' in source
  return isNode ? ((source.socket as { remoteAddress?: string }).remoteAddress ?? null) : null
}

/**
 * Whether a browser would take a `Secure` cookie in the answer to this request: it came over https, or from the same
 * machine, where browsers do not ask for it (W3C Secure Contexts 3.1). Sources that tell nothing of their connection pass.
 * @param trustProxy whether X-Forwarded-Proto counts; anyone can send it where no proxy overwrites it (OWASP ASVS 5.0, 4.1.3)
 */
export function takesSecureCookies(source: CookieSource, trustProxy: boolean): boolean {
  if (typeof source !== 'object' || source === null || isHeaders(source)) return true
  if (isWebRequest(source)) {
    const { protocol, hostname } = new URL(source.url)
    return (
      protocol === 'https:' || isLocal(hostname) || (trustProxy && isForwarded(source.headers.get(FORWARDED)))
    )
  }
  const { headers, socket } = source
  const isEncrypted = (socket as { encrypted?: unknown }).encrypted === true
  return (
    isEncrypted ||
    isLocal(single(headers.host ?? headers[':authority'])?.replace(/:\d*$/, '')) ||
    (trustProxy && isForwarded(single(headers[FORWARDED])))
  )
}

const FORWARDED = 'x-forwarded-proto'

/** Of several proxies, the first in the list spoke with the browser. */
function isForwarded(header: string | null | undefined): boolean {
  return header?.split(',', 1)[0]!.trim().toLowerCase() === 'https'
}

function isLocal(host: string | undefined): boolean {
  return host !== undefined && /^(?:localhost|.+\.localhost|127(?:\.\d+){3}|\[::1\])$/i.test(host)
}

/** By its shape, not its class: runtimes, polyfills and test realms have classes of their own. */
function isHeaders(value: object): value is WebHeaders {
  return typeof (value as { get?: unknown }).get === 'function'
}

function isWebRequest(source: WebRequest | NodeRequest): source is WebRequest {
  return isHeaders(source.headers)
}

function single(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.[0]
}
