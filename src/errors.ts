/** What a {@link SessionError} can say went wrong. Codes are stable; messages may change. */
export type SessionErrorCode =
  /** An option is wrong, or contradicts another. `rule` names the rule it breaks. Thrown at construction. */
  | 'ERR_SESSION_OPTION'
  /** An argument of a call is wrong, as in `setExpiry(-1)`. Thrown at the call. */
  | 'ERR_SESSION_ARGUMENT'
  /** A value would not come back from JSON as it is. `path` says where. Thrown at `set`, or at commit for nested values. */
  | 'ERR_SESSION_VALUE'
  /** A typed view refused an assignment or a record. `issues` holds the schema's words. */
  | 'ERR_SESSION_SCHEMA'
  /** The session has ended; `reason` says why. What `Context.signal` aborts with. */
  | 'ERR_SESSION_ENDED'
  /** More callbacks of one socket are under way than it is allowed. The socket has been closed. */
  | 'ERR_SESSION_TOO_MANY'
  /** The session was destroyed; nothing can be written to it. */
  | 'ERR_SESSION_DESTROYED'
  /** The answer's headers have left, and what was asked for cannot do without a cookie. */
  | 'ERR_SESSION_HEADERS_SENT'
  /** The session has no store behind it. */
  | 'ERR_SESSION_NO_STORE'
  /** The session's data is over `maxSessionBytes`. Thrown at commit, before any header. */
  | 'ERR_SESSION_TOO_LARGE'
  /** Other processes kept writing the same session until the deadline. Nothing was written. */
  | 'ERR_SESSION_CONFLICT'
  /** A store's reply never came, and reading again could not settle whether the write was applied. */
  | 'ERR_SESSION_OUTCOME_UNKNOWN'
  /** The store failed; `operation` says at what, `cause` says why. */
  | 'ERR_SESSION_STORE'
  /** The store did not answer within `storeTimeout`. */
  | 'ERR_SESSION_TIMEOUT'
  /** Too few replicas confirmed a write in time, by a store that is told to have it confirmed. Nothing is claimed; it may have been made. */
  | 'ERR_SESSION_NOT_REPLICATED'
  /** A stored record cannot be read. Stores throw it; the core turns it into a session not found, and an event. */
  | 'ERR_SESSION_RECORD'
  /** The user has as many sessions as `maxSessionsPerUser` allows; nobody was signed in. Thrown at the sign-in's commit. */
  | 'ERR_SESSION_LIMIT_REACHED'
  /** The store cannot find the sessions of a user. The message names those that can. */
  | 'ERR_SESSION_NO_USER_INDEX'
  /** No session middleware ran before `getSession`. */
  | 'ERR_SESSION_NO_MIDDLEWARE'
  /** A driver that the options ask for is not installed. The message names the package. */
  | 'ERR_SESSION_NO_DRIVER'

/**
 * Why a session has ended.
 * - `destroyed`: signed out
 * - `revoked`: ended from outside, by its user on another device or by an administrator
 * - `rotated`: it goes on under a new id, to which a newer cookie leads
 * - `expired`: its time ran out
 * - `gone`: it is not in the store any more, and nobody says why
 */
export type EndReason = 'destroyed' | 'revoked' | 'rotated' | 'expired' | 'gone'

/** What a {@link SessionError} carries beside its code and message. */
export interface SessionErrorDetails {
  /** The error behind this one. */
  cause?: unknown
  /** The rule that an option breaks, as in `'cookie-prefix-host'`. */
  rule?: string
  /** Where in the session's data the trouble is, as in `'cart[2].when'`. */
  path?: string
  /** The store operation that failed, as in `'replace'`. */
  operation?: string
  /** Why the session ended. */
  reason?: EndReason
  /** A schema's issues. */
  issues?: readonly { readonly message: string }[]
}

/**
 * The one class of error that Holdfast throws. Match on `code`, never on the message.
 * Messages say what to do, and hold no token, secret or session data (OWASP ASVS 5.0, 16.2.5).
 */
export class SessionError extends Error {
  override readonly name = 'SessionError'
  /** What went wrong; stable. */
  readonly code: SessionErrorCode
  /** The HTTP status an unhandled error of this kind deserves: 503 when the store is at fault, 401 when the session has ended, 409 where other sessions are in the way, else 500. */
  readonly status: 401 | 409 | 500 | 503
  /** The headers that go with that status: of 503, when to try again. Express, Koa, Fastify and H3 put them on their answer by themselves. */
  readonly headers?: Readonly<Record<string, string>>
  readonly rule?: string
  readonly path?: string
  readonly operation?: string
  readonly reason?: EndReason
  readonly issues?: readonly { readonly message: string }[]

  constructor(code: SessionErrorCode, message: string, details: SessionErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.status = STORE_AT_FAULT.has(code) ? 503 : (STATUS[code] ?? 500)
    if (this.status === 503) this.headers = RETRY
    if (details.rule !== undefined) this.rule = details.rule
    if (details.path !== undefined) this.path = details.path
    if (details.operation !== undefined) this.operation = details.operation
    if (details.reason !== undefined) this.reason = details.reason
    // Not enumerable: a schema's issues may quote the value, and must not be printed with the error.
    if (details.issues !== undefined)
      Object.defineProperty(this, 'issues', { value: details.issues, enumerable: false })
  }
}

/** Whether an error is the store's fault: it could not be asked, or gave no answer. */
export function isUnavailable(error: unknown): error is SessionError {
  return error instanceof SessionError && error.status === 503
}

/** In seconds (RFC 9110 10.2.3): most outages of a store are over in moments. */
export const RETRY: Readonly<Record<string, string>> = Object.freeze({ 'Retry-After': '1' })

/** Where it is neither the store's fault nor the program's. */
const STATUS: Readonly<Partial<Record<SessionErrorCode, 401 | 409>>> = {
  ERR_SESSION_ENDED: 401,
  ERR_SESSION_LIMIT_REACHED: 409,
}

const STORE_AT_FAULT: ReadonlySet<SessionErrorCode> = new Set([
  'ERR_SESSION_STORE',
  'ERR_SESSION_TIMEOUT',
  'ERR_SESSION_CONFLICT',
  'ERR_SESSION_OUTCOME_UNKNOWN',
  'ERR_SESSION_NOT_REPLICATED',
])

/** Where errors go that nobody is there to catch, unless the application says otherwise. */
export function logError(error: unknown): void {
  // oxlint-disable-next-line no-console -- a failure of the server's own, and not a warning
  console.error(error)
}
