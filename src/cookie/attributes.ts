import { SessionError } from '../errors.ts'
import { MAX_VALUE_LENGTH } from './token.ts'

/**
 * How the session cookie is named and scoped. The defaults are the safest that browsers know:
 * `__Host-session`, `Secure; HttpOnly; SameSite=Lax; Path=/`. What a browser would refuse, ignore or
 * shorten throws at construction instead. Null and undefined count as left out.
 */
export interface CookieOptions {
  /**
   * The cookie's name. Default: the one with the strongest prefix that the other options allow:
   * `__Host-session`; `__Secure-session` with a `domain`, or a `path` other than `/`; `session` with
   * `secure: false`, and in development.
   */
  name?: string
  /**
   * Seconds that the browser keeps the cookie, up to 400 days; `'session'` for until it is closed.
   * Default: what is left of the absolute lifetime. The server enforces its own timeouts whatever stands here.
   */
  maxAge?: number | 'session'
  /**
   * The path that the cookie is sent to, with all below it. Default `/`. It keeps no secrets: pages
   * elsewhere on the host can still reach the cookie (6265bis 8.5).
   */
  path?: string
  /**
   * The domain whose hosts all share the cookie. Default: none, and only the host that set it gets it.
   * With it, every subdomain can read the session, and set one.
   */
  domain?: string
  /**
   * Whether the cookie travels over https only. Default true; in development false, unless the name's prefix,
   * `sameSite: 'none'` or `partitioned` need it, so that what works in production constructs there too.
   */
  secure?: boolean
  /** Whether scripts in the page are kept from the cookie. Default true. */
  httpOnly?: boolean
  /**
   * Which requests from other sites carry the cookie: none; links followed to this one; all (needs `secure`).
   * Default `'lax'`.
   */
  sameSite?: 'strict' | 'lax' | 'none'
  /** Whether each site that embeds this one gets a cookie jar of its own (CHIPS; needs `secure`). Default false. */
  partitioned?: boolean
  /** Which cookies Chromium drops last when a host has too many. Default: not sent, which means medium. */
  priority?: 'low' | 'medium' | 'high'
  /**
   * Whether every answer sends the cookie, and every new visitor gets a record, as the Python original did.
   * Default false: sent only when it changes. It re-sends a live token by request, so that an answer which
   * arrives late may overwrite a newer cookie, such as that of a sign-in made meanwhile.
   */
  always?: boolean
}

/** {@link CookieOptions} with the defaults filled in, and fit for browsers. */
export interface CookieAttributes {
  readonly name: string
  /** Seconds; null for what is left of the absolute lifetime. */
  readonly maxAge: number | 'session' | null
  readonly path: string
  /** Null: the host alone. */
  readonly domain: string | null
  readonly secure: boolean
  readonly httpOnly: boolean
  readonly sameSite: 'strict' | 'lax' | 'none'
  readonly partitioned: boolean
  /** Null: not sent. */
  readonly priority: 'low' | 'medium' | 'high' | null
  readonly always: boolean
  /** All that follows the value and Max-Age in Set-Cookie, made once: `; Path=/; HttpOnly; Secure; SameSite=Lax`. */
  readonly suffix: string
}

/** The longest that browsers keep a cookie, in seconds: 400 days (6265bis 5.5). */
export const MAX_COOKIE_AGE = 34_560_000

/**
 * Fills in the defaults, and refuses what a browser would.
 * @param development whether this is a development server, often without https. Decided once, by the caller
 * @throws SessionError `ERR_SESSION_OPTION`, its `rule` naming the rule broken
 */
export function resolveCookie(options: CookieOptions | undefined, development: boolean): CookieAttributes {
  const given = options ?? {}
  const path = given.path ?? '/'
  const domain = given.domain ?? null
  const sameSite = given.sameSite ?? 'lax'
  const partitioned = given.partitioned ?? false
  const needsSecure =
    /^__(?:Secure|Host|Http)-/i.test(String(given.name)) || sameSite === 'none' || partitioned
  const secure = given.secure ?? (!development || needsSecure)
  const prefix = !secure || development ? '' : path === '/' && domain === null ? '__Host-' : '__Secure-'
  const attributes = {
    name: given.name ?? `${prefix}session`,
    maxAge: given.maxAge ?? null,
    path,
    domain,
    secure,
    httpOnly: given.httpOnly ?? true,
    sameSite,
    partitioned,
    priority: given.priority ?? null,
    always: given.always ?? false,
  }
  refuseUnknown(given, Object.keys(attributes))
  for (const { rule, holds, otherwise } of RULES) if (!holds(attributes)) throw refused(rule, otherwise)
  return Object.freeze({ ...attributes, suffix: formatSuffix(attributes) })
}

type Attributes = Omit<CookieAttributes, 'suffix'>

/** In order: a rule may rely on the ones before it. Types are checked too, for callers without TypeScript. */
const RULES: readonly { rule: string; holds: (cookie: Attributes) => boolean; otherwise: string }[] = [
  // 6265bis 4.1.1: cookie-name = token (RFC 9110 5.6.2).
  {
    rule: 'cookie-name',
    holds: ({ name }) => typeof name === 'string' && /^[!#$%&'*+\-.^_`|~\w]+$/.test(name),
    otherwise: "name must be made of letters, digits and !#$%&'*+-.^_`|~ only.",
  },
  // 6265bis 5.6: a cookie whose name and value are over 4096 octets together is ignored.
  {
    rule: 'cookie-name-length',
    holds: ({ name }) => name.length <= 4096 - MAX_VALUE_LENGTH,
    otherwise: `name must be at most ${4096 - MAX_VALUE_LENGTH} characters, to leave room for the value.`,
  },
  // 6265bis 5.6.2: no Max-Age but digits is understood, and zero deletes; 5.5: over 400 days is shortened.
  {
    rule: 'cookie-max-age',
    holds: ({ maxAge }) =>
      maxAge === null ||
      maxAge === 'session' ||
      (Number.isInteger(maxAge) && maxAge > 0 && maxAge <= MAX_COOKIE_AGE),
    otherwise: `maxAge must be a whole number of seconds from 1 to ${MAX_COOKIE_AGE} (400 days), or 'session'.`,
  },
  // 6265bis 5.6.4: a path that does not begin with a slash is ignored. The rest is RFC 3986 3.3: a path that no URL
  // can have matches no request. But no ';', which ends the attribute, nor ',', which is ambiguous where headers are
  // combined (layered-cookies 4.1).
  {
    rule: 'cookie-path',
    holds: ({ path }) => typeof path === 'string' && /^\/[!$%&'()*+\-./:=@~\w]*$/.test(path),
    otherwise:
      "path must begin with '/' and be written as in a URL: other characters percent-encoded; no ';', ',' or space.",
  },
  // 6265bis 5.6: an attribute whose value is over 1024 octets is ignored.
  {
    rule: 'cookie-path-length',
    holds: ({ path }) => path.length <= 1024,
    otherwise: 'path must be at most 1024 characters, or browsers ignore it; use a shorter prefix of it.',
  },
  // 6265bis 4.1.2.3, 5.1.2: host names in ASCII, without a leading dot. 5.1.3: an address has no subdomains, and
  // 5.7, step 9: nor has a public suffix, as every single label is, so that naming one cannot do what it says.
  {
    rule: 'cookie-domain',
    holds: ({ domain }) => domain === null || (typeof domain === 'string' && isSharedDomain(domain)),
    otherwise:
      "domain must be a host name such as 'example.com': no dot at either end, no port, no IP address, no single " +
      'label, and names outside ASCII as xn--…. Leave it out for a cookie of this host alone.',
  },
  {
    rule: 'cookie-boolean',
    holds: ({ secure, httpOnly, partitioned, always }) =>
      [secure, httpOnly, partitioned, always].every((value) => typeof value === 'boolean'),
    otherwise: 'secure, httpOnly, partitioned and always must each be true or false.',
  },
  // 6265bis 5.6.7: any other SameSite is taken for none given, and then each browser has its own default.
  {
    rule: 'cookie-samesite',
    holds: ({ sameSite }) => ['strict', 'lax', 'none'].includes(sameSite),
    otherwise: "sameSite must be 'strict', 'lax' or 'none', in lower case.",
  },
  // draft-west-cookie-priority 4.3: any other Priority is ignored.
  {
    rule: 'cookie-priority',
    holds: ({ priority }) => priority === null || ['low', 'medium', 'high'].includes(priority),
    otherwise: "priority must be 'low', 'medium' or 'high', in lower case.",
  },

  // 6265bis 4.1.3 and 5.7; draft-ietf-httpbis-layered-cookies 4.1.3 for __Http- and __Host-Http-. Browsers compare
  // prefixes without regard to case, to protect servers that do.
  {
    rule: 'cookie-prefix-secure',
    holds: ({ name, secure }) => !/^__Secure-/i.test(name) || secure,
    otherwise:
      "a name that begins with '__Secure-' needs secure: true. Take the prefix off, or leave secure out.",
  },
  {
    rule: 'cookie-prefix-http',
    holds: ({ name, secure, httpOnly }) => !/^__Http-/i.test(name) || (secure && httpOnly),
    otherwise:
      "a name that begins with '__Http-' needs secure: true and httpOnly: true. " +
      'Take the prefix off, or leave both out.',
  },
  {
    rule: 'cookie-prefix-host-http',
    holds: (cookie) => !/^__Host-Http-/i.test(cookie.name) || (isHostBound(cookie) && cookie.httpOnly),
    otherwise:
      "a name that begins with '__Host-Http-' needs secure: true, httpOnly: true, path '/' and no domain. " +
      "Begin it with '__Http-', or leave those options out.",
  },
  {
    rule: 'cookie-prefix-host',
    holds: (cookie) => !/^__Host-/i.test(cookie.name) || isHostBound(cookie),
    otherwise:
      "a name that begins with '__Host-' needs secure: true, path '/' and no domain. " +
      "Begin it with '__Secure-', or leave those options out.",
  },
  // 6265bis 5.7: with None and no Secure, the cookie is ignored.
  {
    rule: 'cookie-samesite-none-secure',
    holds: ({ sameSite, secure }) => sameSite !== 'none' || secure,
    otherwise: "sameSite: 'none' needs secure: true. Serve over https, or use 'lax'.",
  },
  // draft-cutler-httpbis-partitioned-cookies 2.1: Partitioned without Secure is ignored, or the cookie is.
  {
    rule: 'cookie-partitioned-secure',
    holds: ({ partitioned, secure }) => !partitioned || secure,
    otherwise: 'partitioned: true needs secure: true. Serve over https, or leave partitioned out.',
  },
]

/** A misspelt option would leave the cookie at its default without a word. */
function refuseUnknown(given: object, known: readonly string[]): void {
  if (typeof given !== 'object')
    throw refused('cookie-options', "options must be an object, such as { path: '/app' }.")
  const unknown = Object.keys(given).find((key) => !known.includes(key))
  if (unknown === undefined) return
  const distance = (option: string): number => editDistance(unknown.toLowerCase(), option.toLowerCase())
  const nearest = known.reduce((best, option) => (distance(option) < distance(best) ? option : best))
  throw refused(
    'cookie-unknown-option',
    `${unknown} is not an option; the nearest is ${nearest}. All are: ${known.join(', ')}.`,
  )
}

function refused(rule: string, message: string): SessionError {
  return new SessionError('ERR_SESSION_OPTION', `cookie: ${message}`, { rule })
}

function isHostBound({ secure, path, domain }: Attributes): boolean {
  return secure && path === '/' && domain === null
}

/**
 * RFC 1034 3.5 and RFC 1123 2.1, and the underscore, which URLs allow too. Where the last label is a number, URL
 * parsers take the whole for an IPv4 address (WHATWG URL 3.5).
 */
function isSharedDomain(domain: string): boolean {
  const labels = domain.split('.')
  return (
    domain.length <= 253 &&
    labels.length > 1 &&
    labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label)) &&
    !/^(?:\d+|0x[0-9a-f]*)$/i.test(labels.at(-1)!)
  )
}

function formatSuffix(cookie: Attributes): string {
  const { domain, path, httpOnly, secure, sameSite, partitioned, priority } = cookie
  let suffix = domain === null ? '' : `; Domain=${domain}`
  suffix += `; Path=${path}`
  if (httpOnly) suffix += '; HttpOnly'
  if (secure) suffix += '; Secure'
  suffix += `; SameSite=${capitalize(sameSite)}`
  if (partitioned) suffix += '; Partitioned'
  if (priority !== null) suffix += `; Priority=${capitalize(priority)}`
  return suffix
}

function capitalize(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}

/** How many letters must be put in, taken out or changed to make one word of the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const letter of from) {
    const above = row
    row = [above[0]! + 1]
    for (let column = 1; column <= to.length; column++) {
      const changed = above[column - 1]! + (letter === to[column - 1] ? 0 : 1)
      row.push(Math.min(changed, above[column]! + 1, row[column - 1]! + 1))
    }
  }
  return row.at(-1)!
}
