import type { Clock } from './clock.ts'
import { systemClock } from './clock.ts'
import type { CookieAttributes, CookieOptions } from './cookie/attributes.ts'
import { resolveCookie } from './cookie/attributes.ts'
import type { Secret, TokenCodec } from './cookie/token.ts'
import { createTokenCodec } from './cookie/token.ts'
import type { NoteDevice } from './device.ts'
import { SessionError } from './errors.ts'
import { publish } from './events.ts'
import type { OnOutage } from './lookup.ts'
import type { LifetimeOptions, Lifetimes } from './session/expiry.ts'
import { resolveLifetimes } from './session/expiry.ts'
import type { LimitOptions, Limits } from './session/limits.ts'
import { resolveLimits } from './session/limits.ts'
import { MemorySessionStore } from './stores/memory.ts'
import type { SessionStore } from './stores/store.ts'
import { hasUserIndex } from './stores/user-index.ts'

/** Options of {@link createSessions}. All have defaults that are safe; times are in seconds. */
export interface SessionsOptions extends LifetimeOptions, LimitOptions {
  /** Where sessions live. Default: a `MemorySessionStore`, which forgets them when the process ends. */
  store?: SessionStore
  /**
   * Signs the cookie, so that a forged one is turned away before the store is asked. At least 32 random bytes each. The first signs, all
   * verify: put a new one in front, and drop an old one when `absoluteTimeout` has passed. Default: none; a token cannot be guessed anyway.
   */
  secrets?: Secret | readonly Secret[]
  /** The session cookie's name and attributes. Default: `__Host-session`, `Secure; HttpOnly; SameSite=Lax; Path=/`. */
  cookie?: CookieOptions
  /**
   * What becomes of a request whose session the store cannot give, because it fails or takes longer than `storeTimeout`. Default `'fail'`:
   * the request fails with a SessionError whose status is 503. `'anonymous'`: it is served with an empty session that saves nothing, and in
   * which `destroy`, `signIn`, `rotate` and `reload` throw. Either way the visitor's cookie stays as it is.
   */
  onOutage?: OnOutage
  /**
   * Whether a proxy in front sets X-Forwarded-Proto, overwriting what clients send, and adds to X-Forwarded-For, of which the last entry is
   * believed. Default: false.
   */
  trustProxy?: boolean
  /**
   * What to keep of the device that somebody signs in with, to be shown in a list of their sessions (`sessions.forUser`): `'user-agent'`,
   * `'user-agent-and-ip'`, or a function of the request. At most 128 characters. Default: nothing.
   */
  noteDevice?: NoteDevice
  /**
   * Where time comes from. Default: the store's clock, which is Redis's on Redis, and else the machine's. A store dates activity by its own
   * clock: to move time in a test, give the clock to the store, and leave it out here.
   */
  clock?: Clock
}

/** {@link SessionsOptions}, checked, with the defaults filled in. */
interface ResolvedOptions {
  readonly store: SessionStore
  readonly clock: Clock
  readonly cookie: CookieAttributes
  readonly codec: TokenCodec
  readonly lifetimes: Lifetimes
  readonly limits: Limits
  readonly trustProxy: boolean
  readonly onOutage: OnOutage
  readonly noteDevice: NoteDevice | null
}

/** @throws SessionError `ERR_SESSION_OPTION` for what is wrong, unknown or contradictory */
export function resolveOptions(options: SessionsOptions): ResolvedOptions {
  if (typeof options !== 'object' || options === null)
    throw wrong('options', 'createSessions takes an object of options.')
  for (const name of Object.keys(options))
    if (!NAMES.has(name))
      throw wrong(
        'unknown-option',
        `${name} is not an option of createSessions. There are: ${[...NAMES].join(', ')}.`,
      )
  const { store, clock = store?.clock ?? systemClock, trustProxy = false, onOutage = 'fail' } = options
  const { noteDevice = null } = options
  if (typeof clock?.now !== 'function' || typeof clock.sleep !== 'function')
    throw wrong('clock', 'clock must have the methods now and sleep.')
  if (typeof trustProxy !== 'boolean') throw wrong('trust-proxy', 'trustProxy must be true or false.')
  if (onOutage !== 'fail' && onOutage !== 'anonymous')
    throw wrong('on-outage', "onOutage must be 'fail' or 'anonymous'.")
  if (noteDevice !== null && typeof noteDevice !== 'function' && !NOTES.includes(noteDevice))
    throw wrong('note-device', "noteDevice must be 'user-agent', 'user-agent-and-ip' or a function.")
  // Only null and undefined mean none: a store may well count as false in some other way, by being empty say.
  const missing = store == null ? [] : STORE_METHODS.filter((method) => typeof store[method] !== 'function')
  if (missing.length > 0)
    throw wrong(
      'store',
      `store must extend SessionStore, as every store of Holdfast does; it has no ${missing.join(', ')}.`,
    )
  // An environment variable that is not set must not turn signing off without a word.
  if ('secrets' in options && options.secrets === undefined)
    throw wrong(
      'secret-missing',
      'secrets is undefined: is its environment variable set? To go without, leave it out.',
    )
  const cookie = resolveCookie(options.cookie, environment() === 'development')
  const resolved = {
    store: store ?? new MemorySessionStore({ clock }),
    clock,
    cookie,
    codec: createTokenCodec(options.secrets, cookie.name),
    lifetimes: resolveLifetimes(options),
    limits: resolveLimits(options),
    trustProxy,
    onOutage,
    noteDevice,
  }
  if (resolved.limits.perUser !== null && !hasUserIndex(resolved.store))
    throw wrong(
      'max-sessions-per-user',
      'maxSessionsPerUser needs a store that can find the sessions of a user: MemorySessionStore, SqliteSessionStore, RedisSessionStore, or one that implements UserIndex.',
    )
  if (store == null && environment() === 'production') warnOfMemory()
  return resolved
}

const NAMES: ReadonlySet<string> = new Set<keyof SessionsOptions>([
  'store',
  'secrets',
  'cookie',
  'idleTimeout',
  'absoluteTimeout',
  'touchEvery',
  'maxSessionBytes',
  'maxSessionsPerUser',
  'storeTimeout',
  'onOutage',
  'trustProxy',
  'noteDevice',
  'clock',
])

const NOTES: readonly unknown[] = ['user-agent', 'user-agent-and-ip'] satisfies NoteDevice[]

const STORE_METHODS = ['load', 'create', 'replace', 'end', 'touch'] as const

/** Read at construction only: a process that changed its mind would answer to two cookie names. */
function environment(): string | undefined {
  return globalThis.process?.env?.NODE_ENV
}

function warnOfMemory(): void {
  const remedy =
    'Sessions are kept in the memory of this process: a restart signs everybody out, and a second process knows of none. ' +
    'Give createSessions a store, or new MemorySessionStore() if this is meant.'
  publish({ kind: 'unfit-store', reason: 'in-memory', remedy })
  console.warn(`holdfast: ${remedy}`)
}

const wrong = (rule: string, message: string): SessionError =>
  new SessionError('ERR_SESSION_OPTION', message, { rule })
