import { channel } from 'node:diagnostics_channel'

import type { CookieAttributes } from './cookie/attributes.ts'
import type { TokenCodec } from './cookie/token.ts'
import { clearCookie, writeCookie } from './cookie/write.ts'
import { isUnavailable } from './errors.ts'
import type { Lookup, SessionState } from './session/state.ts'
import type { SessionData } from './stores/session-data.ts'

/**
 * How a commit ended.
 * - `saved`: the changes are in the store
 * - `unchanged`: there was nothing to save
 * - `gone`: the session has ended elsewhere; changes made in it were dropped
 * - `destroyed`: this request ended it
 * - `discarded`: the answer is an error; the changes were dropped
 * - `withheld`: the cookie cannot be set over this connection, so nothing was saved
 * - `failed`: the store failed, or what the session holds cannot be saved; nothing is claimed
 */
export type Outcome = 'saved' | 'unchanged' | 'gone' | 'destroyed' | 'discarded' | 'withheld' | 'failed'

/** What one commit did, and why: the record that explains a session's behaviour. Holds no token and no data. */
export interface Decision {
  /** The session's id; null for a visitor who has none. */
  readonly id: string | null
  readonly lookup: Lookup
  readonly outcome: Outcome
  readonly wrote: 'nothing' | 'created' | 'replaced' | 'rotated' | 'touched'
  readonly cookie: 'left' | 'set' | 'cleared' | 'withheld'
  /** Why the cookie was sent, or was not. */
  readonly why: string
}

/** What an answer must carry for its session, and what was done. */
export interface Commit {
  /** Header lines for the answer: Set-Cookie is one more; Vary adds to the application's; Cache-Control gives way to a stricter one. */
  readonly headers: readonly HeaderLine[]
  readonly outcome: Outcome
  readonly decision: Decision
}

export type HeaderLine = readonly [name: 'Set-Cookie' | 'Vary' | 'Cache-Control', value: string]

/** How a request's session is put on its answer: the cookie's form, and the time. */
export interface Form {
  readonly cookie: CookieAttributes
  readonly codec: TokenCodec
  readonly absolute: number
  now(): number
}

/** Decides what the answer carries once a session is committed. */
export function answer(state: SessionState, form: Form, outcome: Outcome, wrote: Decision['wrote']): Commit {
  const { standing, identity, lookup } = state
  const decision = (cookie: Decision['cookie'], why: string): Decision =>
    explain({ id: idOf(state), lookup, outcome, wrote, cookie, why })

  if (standing.kind === 'destroyed' && standing.byThis)
    return {
      headers: withCookie(clearCookie(form.cookie)),
      outcome,
      decision: decision('cleared', WHY.destroyed),
    }
  const due = state.cookieDue ?? (form.cookie.always ? 'always' : null)
  if (standing.kind === 'live' && due !== null && identity?.token != null && outcome !== 'withheld') {
    state.cookieDue = null
    const line = writeCookie(form.cookie, form.codec.encode(identity.token), maxAge(standing.record, form))
    return { headers: withCookie(line), outcome, decision: decision('set', WHY[due]) }
  }
  const headers = !state.isUsed ? NONE : standing.kind === 'outage' ? PASSING : VARY
  if (outcome === 'withheld') return { headers, outcome, decision: decision('withheld', WHY.withheld) }
  return { headers, outcome, decision: decision('left', whyLeft(state, outcome)) }
}

/** Publishes the decision of a commit that failed. */
export function explainFailure(state: SessionState, error: unknown): void {
  explain({
    id: idOf(state),
    lookup: state.lookup,
    outcome: 'failed',
    wrote: 'nothing',
    cookie: 'left',
    why: isUnavailable(error) ? WHY.failed : WHY.refused,
  })
}

/**
 * Listens to the diagnostics channel `holdfast:commit`: a decision for every commit, told while the request's `Context` is the current one.
 * @returns stops listening
 */
export function onCommit(listener: (decision: Decision) => void): () => void {
  const note = (message: unknown): void => listener(message as Decision)
  commits.subscribe(note)
  return () => {
    commits.unsubscribe(note)
  }
}

const commits = channel('holdfast:commit')

/** Publishes a decision on the diagnostics channel `holdfast:commit`. */
function explain(decision: Decision): Decision {
  if (commits.hasSubscribers) commits.publish(decision)
  return decision
}

function idOf({ standing, identity }: SessionState): string | null {
  return standing.kind === 'live' ? standing.record.id : (identity?.id ?? null)
}

/** The cookie's Max-Age in seconds; null for one that goes with the browser. */
function maxAge(record: SessionData, form: Form): number | null {
  const { maxAge } = form.cookie
  if (maxAge === 'session') return null
  // Rounded up: the server keeps the time, and a cookie must not leave before its session.
  const left = Math.ceil(
    (Math.min(record.createdAt + form.absolute, record.expiresAt ?? Infinity) - form.now()) / 1000,
  )
  return maxAge === null || record.expiresAt !== null ? left : maxAge
}

/** An answer that sets a cookie is for one visitor only: no shared cache may keep it (CVE-2023-30861). */
function withCookie(line: string): readonly HeaderLine[] {
  return [['Set-Cookie', line], ...VARY, ['Cache-Control', 'no-store']]
}

const VARY: readonly HeaderLine[] = [['Vary', 'Cookie']]
const NONE: readonly HeaderLine[] = []
/** What a visitor is shown while the store is out of reach is not to be shown again when it is back. */
const PASSING: readonly HeaderLine[] = [...VARY, ['Cache-Control', 'no-store']]

function whyLeft(state: SessionState, outcome: Outcome): string {
  switch (state.standing.kind) {
    case 'new':
      return outcome === 'discarded' ? WHY.discarded : state.lookup === 'none' ? WHY.nothing : WHY.unfound
    case 'live':
      return WHY.known
    case 'ended':
      return WHY.ended
    case 'destroyed':
      return WHY.over
    case 'outage':
      return WHY.outage
  }
}

const WHY = {
  created: 'The session is new.',
  rotated: 'The session has a new token.',
  lifetime: 'The session was given another lifetime.',
  always: 'cookie.always is set.',
  destroyed: 'This request ended the session.',
  withheld: 'A Secure cookie cannot be set over this connection.',
  known: 'The browser has it already.',
  nothing: 'There is nothing to remember.',
  unfound: 'It leads to no session, and the browser may hold a newer one by the time this answer arrives.',
  ended:
    'The session ended elsewhere, and the browser may hold a newer cookie by the time this answer arrives.',
  over: 'The session was over before; only the request that ends one clears its cookie.',
  discarded: 'The answer is an error, so nothing was saved.',
  outage:
    'The store could not be asked, so the visitor was served without a session; an outage signs nobody out.',
  failed: 'The store failed; an outage signs nobody out.',
  refused: 'What the session holds cannot be saved; the error says why.',
} as const
