import { idOf } from '../../src/cookie/token.ts'
import type { Session } from '../../src/session/session.ts'
import { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'

/** One thing that a request's handler does to its session. The same list drives the real session and the model. */
export type Action =
  | { readonly act: 'set'; readonly key: string; readonly value: number }
  | { readonly act: 'update'; readonly key: string }
  | { readonly act: 'clear' | 'expiry' | 'rotate' | 'save' | 'try' | 'destroy' }
  | { readonly act: 'signIn'; readonly user: string }

const set = (key: string, value: number): Action => ({ act: 'set', key, value })
const update: Action = { act: 'update', key: 'count' }
const rotate: Action = { act: 'rotate' }
const save: Action = { act: 'save' }
const destroy: Action = { act: 'destroy' }
const signIn = (user: string): Action => ({ act: 'signIn', user })

/** Who is signed in where a scenario begins signed in, and who signs in. */
export const [VERA, UMA] = ['vera', 'uma']

/** What requests do, by name; `i` is the request's number, for a key of its own. */
const HANDLERS = {
  read: () => [],
  touch: () => [],
  set: (i) => [set(`own${i}`, 1)],
  'set same': (i) => [set('shared', i + 1)],
  update: () => [update],
  clear: () => [{ act: 'clear' }],
  'set expiry': () => [{ act: 'expiry' }],
  // Tries to save at once; where that fails, the commit tries again.
  'update twice tried': () => [update, { act: 'try' }],
  'set then update': (i) => [set(`own${i}`, 1), save, update],
  rotate: () => [rotate],
  'set and rotate': (i) => [set(`own${i}`, 1), rotate],
  'sign in': () => [signIn(UMA)],
  'sign in again': () => [signIn(VERA)],
  'update and sign in': () => [update, signIn(UMA)],
  'sign in and set': (i) => [signIn(UMA), set(`own${i}`, 1)],
  destroy: () => [destroy],
  'set then destroy': (i) => [set(`own${i}`, 1), save, destroy],
} satisfies Record<string, (i: number) => readonly Action[]>

/** No requests, but things that happen: the session at hand runs idle, or reaches the deadline that it was given. */
const EVENTS = ['expire', 'expire at deadline'] as const

export type RequestKind = keyof typeof HANDLERS
export type EventKind = (typeof EVENTS)[number]
export type Kind = RequestKind | EventKind

export const REQUEST_KINDS = Object.keys(HANDLERS) as RequestKind[]
export const KINDS: readonly Kind[] = [...REQUEST_KINDS, ...EVENTS]

/** What the browser's cookie leads to at the start: to nothing, an anonymous session, a signed-in one, one just ended; or it was never given out. */
export const INITIALS = ['none', 'anonymous', 'user', 'ended', 'unknown'] as const
export type Initial = (typeof INITIALS)[number]

/** All requests in one server, or each in a server process of its own, over one store. */
export const MODES = ['one process', 'several processes'] as const
export type Mode = (typeof MODES)[number]

/** How often each fault may strike in one order. */
export interface Faults {
  /** A process dies, before or after the store carries out what it asked. */
  readonly crash?: number
  /** A store's reply is lost, by a cut connection or the deadline; what was asked may be carried out, now or later, or not. */
  readonly lost?: number
  /** An answer never reaches the browser. */
  readonly drop?: number
  /** 30 s pass between a handler's steps, or while an answer is under way: every mark is gone. */
  readonly marks?: number
}

export interface Scenario {
  readonly kinds: readonly Kind[]
  readonly initial: Initial
  readonly mode: Mode
  readonly faults?: Faults
}

export function nameOf({ kinds, initial, mode, faults = {} }: Scenario): string {
  const budget = Object.entries(faults).map(([fault, times]) => `, ${fault} ${times}`)
  return `${kinds.join(' + ')} from ${initial}, ${mode}${budget.join('')}`
}

export function isEvent(kind: Kind): kind is EventKind {
  return (EVENTS as readonly string[]).includes(kind)
}

export function actionsOf(kind: Kind, request: number): readonly Action[] {
  return isEvent(kind) ? [] : HANDLERS[kind](request)
}

const TOKEN = 'A'.repeat(43)
/** The cookie that a scenario begins with, and the id that it leads to. */
export const FIRST = { token: TOKEN, id: idOf(TOKEN) } as const

/** The idle timeout, in seconds. */
export const IDLE = 3600
/** In seconds. */
export const TOUCH_EVERY = 60
/** In seconds. */
export const STORE_TIMEOUT = 1
/** By when a request has given up on the store, in milliseconds. */
export const PAST_DEADLINE = STORE_TIMEOUT * 1000 + 100
/** How long before its end a session stands that is to expire, in milliseconds. */
export const MARGIN = 5

/** What there is when a scenario begins. */
export interface Beginning {
  readonly jar: string | null
  readonly record: SessionData | null
  /** When the record's time to live is over, in epoch milliseconds. */
  readonly endsAt: number
  /** What stands in the record's place, where the session has just been ended. */
  readonly mark: Mark | null
}

export function beginningOf({ kinds, initial }: Scenario, now: number): Beginning {
  if (initial === 'none' || initial === 'unknown')
    return { jar: initial === 'none' ? null : FIRST.token, record: null, endsAt: 0, mark: null }
  const isExpiring = kinds.includes('expire')
  const age = isExpiring ? IDLE + TOUCH_EVERY : kinds.includes('touch') ? 10 * TOUCH_EVERY : 0
  const touchedAt = now - age * 1000 + (isExpiring ? MARGIN : 0)
  const record = new SessionData({
    id: FIRST.id,
    data: { count: 10, ...(initial === 'user' && { seed: VERA }) },
    version: 'first',
    userId: initial === 'user' ? VERA : null,
    createdAt: Math.min(now - 1000, touchedAt),
    updatedAt: touchedAt,
    expiresAt: kinds.includes('expire at deadline') ? now + MARGIN : null,
  })
  const endsAt = record.expiresAt ?? touchedAt + (IDLE + TOUCH_EVERY) * 1000
  const mark: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }
  return { jar: FIRST.token, record, endsAt, mark: initial === 'ended' ? mark : null }
}

export const increment = (value: unknown): number => ((value as number | undefined) ?? 0) + 1

/** How long `set expiry` gives a session, in seconds. */
export const GIVEN_SECONDS = 600

/**
 * What a handler does.
 * @param saved is told how each `save` ended
 */
export async function handle(
  session: Session,
  actions: readonly Action[],
  saved: (outcome: string) => void,
): Promise<void> {
  // Every request looks at its session.
  session.get('seed')
  for (const action of actions)
    switch (action.act) {
      case 'set':
        session.set(action.key, action.value)
        break
      case 'update':
        session.update(action.key, increment)
        break
      case 'clear':
        session.clear()
        break
      case 'expiry':
        session.setExpiry(GIVEN_SECONDS)
        break
      case 'rotate':
        session.rotate()
        break
      case 'signIn':
        session.signIn(action.user)
        break
      case 'save':
        saved(await session.save())
        break
      case 'try':
        await session.save().then(saved, () => {})
        break
      case 'destroy':
        await session.destroy()
    }
}

/** Every list of `length` of these, in which order does not count. */
export function multisets<T>(of: readonly T[], length: number, from = 0): T[][] {
  if (length === 0) return [[]]
  return of
    .slice(from)
    .flatMap((item, i) => multisets(of, length - 1, from + i).map((rest) => [item, ...rest]))
}
