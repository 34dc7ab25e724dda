import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { isMark, MARK_SECONDS } from '../../src/stores/store.ts'
import type { Call } from './gate.ts'
import type { Action, Beginning, Scenario } from './scenario.ts'
import { actionsOf, FIRST, increment, PAST_DEADLINE } from './scenario.ts'
import type { Happening } from './scheduler.ts'

/** What must never come to pass. */
export const RULES = [
  'an ended session lives on',
  'the data is not what the acknowledged changes make',
  'an acknowledged session vanished',
  'neither the old nor the new session is left',
  'gone was told of a live session',
  'a sign-in was refused',
  'a sign-in signed nobody in',
  'a sign-out was undone',
  'one session lives under two ids',
  'a record is left that no browser knows',
  'an id from outside was adopted',
  'the user changed under an id',
  'an answer had no right to the cookie',
  'a good cookie was overwritten',
  'the cookie leads nowhere',
  'a record outlives its deadline',
  'a request failed',
  'a request never ended',
] as const
export type Rule = (typeof RULES)[number]

export interface Violation {
  readonly rule: Rule
  readonly detail: string
}

/** A late answer that takes a newer cookie's place where no server could help it; DESIGN.md names the first and the last. */
export type Excuse =
  | 'first visit'
  | 'rotation at the same moment'
  | 'sign-out at the same moment'
  | 'set expiry'

type Look = (id: string, ms?: number) => Promise<SessionData | Mark | null>

/**
 * Watches an order as it comes about, and says in the end what was wrong with it. It knows what was asked of the store, what the
 * answers said, and what stands in the store at the end, but not how the core works.
 */
export class Judge {
  readonly violations: Violation[] = []
  readonly excuses = new Set<Excuse>()
  readonly #scenario: Scenario
  readonly #requests: Told[]
  readonly #ids = new Map<string, Known>()
  readonly #deeds: Deed[] = []
  #moment = 0
  #now = 0
  #jar: string | null
  /** In milliseconds. */
  #passed = 0
  #wasCut = false
  /** By how much a server's clock is ahead of the store's, in milliseconds. */
  #skew = 0

  constructor(scenario: Scenario, { jar, record, endsAt, mark }: Beginning, now: number) {
    this.#scenario = scenario
    this.#requests = scenario.kinds.map((kind, i) => ({
      actions: actionsOf(kind, i),
      cookie: null,
      found: 'nothing',
      readAt: 0,
      handledAt: 0,
      done: 0,
      outcome: '',
      ids: [],
      cuts: [],
      isCrashed: false,
      hasEnded: false,
      deliveredAt: 0,
    }))
    this.#jar = jar === null ? null : FIRST.id
    if (record === null) return
    // A mark that stands at the start has just been put there.
    const ends = mark === null ? endsAt : now
    this.#ids.set(FIRST.id, { creator: null, user: record.userId, mark, endsAt: ends, first: record })
  }

  observe(happening: Happening, now: number): void {
    this.#moment++
    this.#now = now
    switch (happening.kind) {
      case 'sent':
        this.#request(happening).cookie = happening.id
        return
      case 'handled':
        this.#request(happening).handledAt = this.#moment
        return
      case 'called':
        return this.#called(happening)
      case 'cut':
        return this.#cut(happening)
      case 'settled':
        return this.#settled(happening)
      case 'answered':
        return this.#answered(happening)
      case 'delivered':
        return this.#delivered(happening)
      case 'dropped':
        this.#request(happening).isCrashed = true
        return
      case 'crashed': {
        const request = this.#request(happening)
        request.isCrashed = true
        this.#add(request, 'failed', null)
        return
      }
      case 'passed':
        this.#passed += happening.ms
    }
  }

  /** To be called once nothing more can happen. */
  async judge(look: Look, isComplete: boolean): Promise<void> {
    if (!isComplete) this.#accuse('a request never ended', 'nothing more can happen')
    const stands = new Map<string, SessionData | Mark | null>()
    for (const id of new Set([FIRST.id, ...this.#ids.keys()])) stands.set(id, await look(id))
    const live = new Map<string, SessionData>()
    for (const [id, found] of stands) if (found !== null && !isMark(found)) live.set(id, found)
    for (const [id, record] of live) {
      this.#judgeLiving(id, live)
      if (record.expiresAt !== null && (await look(id, Math.max(0, record.expiresAt - this.#now))) !== null)
        this.#accuse('a record outlives its deadline', id)
    }
    for (const id of this.#ids.keys()) if (!this.#isCarriedOn(id)) this.#judgeData(id, live)
    for (const request of this.#requests) this.#judgeSignOut(request, live)
    this.#judgeJar(live)
  }

  #called({ request, call, result, opens }: Happening & { kind: 'called' }): void {
    const { id } = call
    const known = this.#ids.get(id)
    if (call.operation === 'load') {
      const isFound = result !== null && !isMark(result as Mark | SessionData)
      if (isFound && !this.#isAlive(id)) this.#accuse('an ended session lives on', 'it was loaded')
      if (!opens) return
      const told = this.#requests[request!]!
      told.readAt = this.#moment
      // Not what the store says, but what it should.
      told.found = this.#isAlive(id) ? 'live' : this.#isMarked(id) ? 'ended' : 'nothing'
      return
    }
    if (result !== true) return
    if (call.operation === 'create') {
      // Its own it may make anew, when a reply was lost and time ran out.
      if (id === FIRST.id || (known !== undefined && known.creator !== request))
        this.#accuse('an id from outside was adopted', id)
      const { userId } = call.record
      this.#ids.set(id, {
        creator: request,
        user: userId,
        mark: null,
        endsAt: this.#after(call),
        first: null,
      })
      return
    }
    if (known === undefined || !this.#isAlive(id))
      this.#accuse('an ended session lives on', `${call.operation} went through`)
    if (known === undefined) return
    switch (call.operation) {
      case 'replace':
        if (known.user !== call.record.userId) this.#accuse('the user changed under an id', id)
        known.endsAt = this.#after(call)
        return
      case 'touch':
        known.endsAt = Math.max(known.endsAt, this.#after(call))
        return
      case 'end':
        known.mark ??= call.mark
        known.endsAt = this.#now
        if (call.mark.reason === 'destroyed')
          for (const told of request === null ? this.#requests : [this.#requests[request]!])
            if (told.handledAt > 0) told.hasEnded = true
    }
  }

  #cut({ request, call, how }: Happening & { kind: 'cut' }): void {
    this.#wasCut = true
    if (how === 'timed out') this.#skew += PAST_DEADLINE
    // A deadline that passes for one request of a server passes for all of them.
    const isShared = request === null || (how === 'timed out' && this.#scenario.mode === 'one process')
    for (const told of isShared ? this.#requests : [this.#requests[request]!]) {
      told.cuts.push(how === 'timed out' ? how : call.operation)
      // Whether it was carried out nobody knows but the store.
      if (call.operation === 'end') told.hasEnded = true
    }
  }

  #settled({ request: index, outcome, id }: Happening & { kind: 'settled' }): void {
    const request = this.#requests[index]!
    request.outcome = outcome
    this.#add(request, outcome, id)
    if (outcome === 'saved' && id !== null) {
      request.ids.push(id)
      const known = this.#ids.get(id)
      if (known !== undefined) known.creator ??= index
      const user = signInOf(request.actions)
      if (user !== null && known?.user !== user)
        this.#accuse('a sign-in signed nobody in', `request ${index}`)
    }
    if (outcome !== 'gone') return
    if (request.cookie === null || this.#isAlive(request.cookie, this.#skew))
      this.#accuse('gone was told of a live session', `request ${index}`)
    if (signInOf(request.actions) !== null && !this.#wasSignedOut(index))
      this.#accuse('a sign-in was refused', `request ${index}`)
  }

  /** Whether a destroy, by way of the mark, ended what this request was about to give out. */
  #wasSignedOut(index: number): boolean {
    return [...this.#ids.values()].some(
      ({ creator, mark, first }) =>
        (creator === index || creator === null) && first === null && mark?.reason === 'destroyed',
    )
  }

  #answered({ request: index, cookie, error }: Happening & { kind: 'answered' }): void {
    const request = this.#requests[index]!
    const { actions, cuts, found, outcome } = request
    if (outcome === 'failed') {
      // One lost reply is settled by asking again; only a look-up, or an update that others overtook, may fail for it.
      const isUnknown = (error as { code?: string }).code === 'ERR_SESSION_OUTCOME_UNKNOWN'
      const mayFail = cuts.some(
        (cut) => cut === 'timed out' || cut === 'load' || isUnknown || this.#passed > 0,
      )
      if (!mayFail) this.#accuse('a request failed', `request ${index}: ${String(error)}`)
    }
    const isIdle = actions.length === 0
    const isLate = found === 'ended' && signInOf(actions) === null
    if (cookie === 'set' && (isIdle || isLate || outcome === 'gone' || outcome === 'failed'))
      this.#accuse('an answer had no right to the cookie', `request ${index} set it`)
    if (cookie === 'cleared' && !request.hasEnded)
      this.#accuse('an answer had no right to the cookie', `request ${index} cleared it`)
  }

  #delivered({ request: index, jar }: Happening & { kind: 'delivered' }): void {
    const request = this.#requests[index]!
    request.deliveredAt = this.#moment
    const before = this.#jar
    this.#jar = jar
    if (before === null || before === jar || !this.#isAlive(before)) return
    const excuse = this.#excuseOf(request, before, jar)
    if (excuse === null) this.#accuse('a good cookie was overwritten', `by the answer to request ${index}`)
    else if (excuse !== 'none needed') this.excuses.add(excuse)
  }

  #excuseOf(request: Told, before: string, after: string | null): Excuse | 'none needed' | null {
    // Who knew the cookie that is there had to end its session before giving out another.
    if (request.cookie === before) return null
    if (request.actions.some(({ act }) => act === 'expiry')) return 'set expiry'
    if (after === null) return request.hasEnded ? 'sign-out at the same moment' : null
    const mark = this.#ids.get(after)?.mark ?? null
    if (mark !== null) return mark.reason === 'destroyed' ? 'sign-out at the same moment' : null
    if (signInOf(request.actions) !== null) return 'none needed'
    // Its cookie, if it had one, has led nowhere for longer than a mark stands.
    if (request.found === 'nothing') return 'first visit'
    return request.actions.some(({ act }) => act === 'rotate') ? 'rotation at the same moment' : null
  }

  /** Every record that is left must have come about in one of the ways there are. */
  #judgeLiving(id: string, live: ReadonlyMap<string, SessionData>): void {
    const known = this.#ids.get(id)
    if (known === undefined || known.mark !== null || known.endsAt <= this.#now)
      return this.#accuse('an ended session lives on', 'at the end')
    if (id === FIRST.id) return
    const request = this.#requests[known.creator ?? -1]
    if (!this.#wasTold(id) && !(request === undefined ? this.#wasCut : isHarmed(request)))
      this.#accuse('a record is left that no browser knows', id)
    if (request === undefined || this.#parentOf(id) !== null || request.found === 'nothing') return
    if (request.cookie !== null && live.has(request.cookie))
      this.#accuse('one session lives under two ids', `request ${known.creator} left the old one`)
    if (signInOf(request.actions) === null)
      this.#accuse('one session lives under two ids', `request ${known.creator} made another`)
  }

  /** Whether the data of a session, under all the ids it went on under, is what the changes told as saved make of it, in some order. */
  #judgeData(root: string, live: ReadonlyMap<string, SessionData>): void {
    const { first } = this.#ids.get(root)!
    const ids = [root]
    for (
      let next = this.#successorOf(root);
      next !== null && this.#isCarriedOn(next);
      next = this.#successorOf(next)
    )
      ids.push(next)
    const last = ids.at(-1)!
    const record = live.get(last)
    if (record === undefined) return this.#judgeEnd(last, ids)

    const deeds = this.#deeds.flatMap((deed): Effect[] => {
      const { request, outcome, id } = deed
      const made = ids.find(
        (candidate) => this.#ids.get(candidate)!.creator === request && candidate !== FIRST.id,
      )
      const { actions, found } = this.#requests[request]!
      const isFresh = signInOf(actions) !== null && made === root && found !== 'nothing'
      if (outcome === 'saved' && ids.includes(id!)) return [{ deed, isFresh, isRequired: true }]
      const isOpen = outcome === 'failed' || (this.#wasCut && !this.#wasTold(root))
      const mayBe = made !== undefined || ids.includes(this.#requests[request]!.cookie ?? '') || this.#wasCut
      return isOpen && mayBe ? [{ deed, isFresh, isRequired: false }] : []
    })
    const start = first === null ? {} : { ...first.data, ...(first.expiresAt !== null && { [EXPIRY]: 1 }) }
    const end = { ...record.data, ...(record.expiresAt !== null && { [EXPIRY]: 1 }) }
    if (!this.#explains(start, deeds, textOf(end)))
      this.#accuse('the data is not what the acknowledged changes make', textOf(end))
  }

  /** Whether the effects, in some order in which what was told before something was read comes before it, lead from `start` to `end`. */
  #explains(start: object, effects: readonly Effect[], end: string): boolean {
    const comesAfter = effects.map((later) =>
      effects.reduce((mask, earlier, i) => {
        const isSame = earlier.deed.request === later.deed.request && earlier.deed.at < later.deed.at
        const wasTold = earlier.isRequired && earlier.deed.at < this.#requests[later.deed.request]!.readAt
        return isSame || wasTold ? mask | (1 << i) : mask
      }, 0),
    )
    const required = effects.reduce((mask, { isRequired }, i) => (isRequired ? mask | (1 << i) : mask), 0)
    const reached = new Map([[0, new Set([textOf(start)])]])
    // A larger mask comes after all that it is made of.
    for (let mask = 0; mask < 1 << effects.length; mask++)
      for (const text of reached.get(mask) ?? []) {
        if ((mask & required) === required && text === end) return true
        for (const [i, effect] of effects.entries()) {
          if ((mask & (1 << i)) !== 0 || (comesAfter[i]! & ~mask & required) !== 0) continue
          const next = mask | (1 << i)
          if (!reached.has(next)) reached.set(next, new Set())
          reached.get(next)!.add(textOf(effectOn(JSON.parse(text) as Data, effect)))
        }
      }
    return false
  }

  /** A session that is not there at the end must have been ended by somebody, or by time. */
  #judgeEnd(last: string, ids: readonly string[]): void {
    const { mark, endsAt, creator, first } = this.#ids.get(last)!
    const isAwaited =
      first !== null || this.#deeds.some(({ outcome, id }) => outcome === 'saved' && ids.includes(id!))
    if (!isAwaited || mark?.reason === 'destroyed' || (mark === null && endsAt <= this.#now)) return
    if (mark?.reason === 'rotated' && this.#ids.has(mark.successor!)) return
    const request = this.#requests[creator ?? -1]
    const wasCut = request === undefined ? this.#wasCut : isHarmed(request)
    // A rotation that was cut off leaves its new record pending: nobody was told of it.
    if (mark === null && wasCut && first === null) return
    this.#accuse(
      mark === null ? 'an acknowledged session vanished' : 'neither the old nor the new session is left',
      last,
    )
  }

  #judgeSignOut(request: Told, live: ReadonlyMap<string, SessionData>): void {
    // Without a mark left, an id that was rotated away while the handler took its time leads nowhere.
    if (request.outcome !== 'destroyed' || this.#passed > MARK_SECONDS * 1000) return
    for (const start of [...request.ids, ...(request.found === 'nothing' ? [] : [request.cookie!])])
      for (
        let id: string | null = start;
        id !== null;
        id = this.#ids.get(id)?.mark?.sameUser === true ? this.#successorOf(id) : null
      )
        if (live.has(id)) this.#accuse('a sign-out was undone', id)
  }

  #judgeJar(live: ReadonlyMap<string, SessionData>): void {
    const session = this.#jar === null ? undefined : live.get(this.#jar)
    const wasDestroyed = this.#requests.some(({ actions }) => actions.some(({ act }) => act === 'destroy'))
    // It was sent anew by a request that was overtaken, which DESIGN.md allows.
    if (wasDestroyed || this.#requests.some(isHarmed) || this.excuses.has('set expiry')) return
    const hadSession =
      this.#scenario.initial === 'anonymous' ||
      this.#scenario.initial === 'user' ||
      this.#requests.some(({ deliveredAt }) => deliveredAt > 0)
    if (session === undefined && hadSession && this.#passed === 0 && !this.#isStale())
      this.#accuse('the cookie leads nowhere', 'at the end')
    const users = this.#requests.flatMap(({ deliveredAt, actions, outcome }) =>
      deliveredAt > 0 && outcome === 'saved' ? (signInOf(actions) ?? []) : [],
    )
    const isExcused = this.excuses.size > 0 || this.#isStale()
    if (users.length > 0 && !isExcused && !(session !== undefined && users.includes(session.userId!)))
      this.#accuse('a sign-in signed nobody in', 'the cookie leads elsewhere at the end')
  }

  /** Whether anybody was told that this is their session. */
  #wasTold(id: string): boolean {
    return id === FIRST.id || this.#requests.some(({ ids }) => ids.includes(id))
  }

  /** Whether the cookie there is one that `set expiry` sent anew, late. */
  #isStale(): boolean {
    return this.#requests.some(
      ({ actions, cookie }) => cookie === this.#jar && actions.some(({ act }) => act === 'expiry'),
    )
  }

  #add(request: Told, outcome: string, id: string | null): void {
    const { actions, done } = request
    const next = actions.findIndex(({ act }, i) => (act === 'save' || act === 'try') && i >= done)
    const end = next === -1 ? actions.length : next
    request.done = end + 1
    const index = this.#requests.indexOf(request)
    this.#deeds.push({ request: index, actions: actions.slice(done, end), outcome, id, at: this.#moment })
  }

  #request({ request }: { readonly request: number | null }): Told {
    return this.#requests[request!]!
  }

  #isAlive(id: string, within = 0): boolean {
    const known = this.#ids.get(id)
    return known !== undefined && known.mark === null && known.endsAt > this.#now + within
  }

  /** Whether a mark must stand there. */
  #isMarked(id: string): boolean {
    const known = this.#ids.get(id)
    return known !== undefined && known.mark !== null && known.endsAt + MARK_SECONDS * 1000 > this.#now
  }

  #after({ ttl }: Call & { ttl: number }): number {
    return this.#now + ttl * 1000
  }

  #successorOf(id: string): string | null {
    const successor = this.#ids.get(id)?.mark?.successor ?? null
    return successor !== null && this.#ids.has(successor) ? successor : null
  }

  #parentOf(id: string): string | null {
    for (const [parent, { mark }] of this.#ids) if (mark?.successor === id) return parent
    return null
  }

  /** Whether the data of another id went on under this one: it does, but from one user to another. */
  #isCarriedOn(id: string): boolean {
    const parent = this.#parentOf(id)
    if (parent === null) return false
    const { user, mark } = this.#ids.get(parent)!
    return user === null || mark!.sameUser
  }

  #accuse(rule: Rule, detail: string): void {
    this.violations.push({ rule, detail })
  }
}

/** What is known of an id. */
interface Known {
  /** The request that made it, where that is known. */
  creator: number | null
  readonly user: string | null
  mark: Mark | null
  /** When its time to live is, or was, over, in epoch milliseconds. */
  endsAt: number
  /** What stood there at the start. */
  readonly first: SessionData | null
}

/** What a request did and was told. */
interface Told {
  readonly actions: readonly Action[]
  /** The id that its cookie leads to. */
  cookie: string | null
  /** What stood there. */
  found: 'nothing' | 'live' | 'ended'
  readAt: number
  handledAt: number
  /** How many actions have been settled. */
  done: number
  outcome: string
  /** The sessions it was told that its changes are in. */
  readonly ids: string[]
  /** Which of its calls, or of its server's, were cut off. */
  readonly cuts: string[]
  /** Whether its process died, or its answer was lost. */
  isCrashed: boolean
  /** Whether it ended a session, or may have. */
  hasEnded: boolean
  deliveredAt: number
}

/** The changes of one save or commit. */
interface Deed {
  readonly request: number
  readonly actions: readonly Action[]
  readonly outcome: string
  readonly id: string | null
  readonly at: number
}

/** A deed as it bears on one session. */
interface Effect {
  readonly deed: Deed
  /** Whether the session began with it, at a sign-in that leaves the old one behind. */
  readonly isFresh: boolean
  /** Whether it was acknowledged; else it may have been done, once. */
  readonly isRequired: boolean
}

/** Whether a fault kept a request from doing all that it was to do. A reply that was lost is none, as long as it could be settled. */
function isHarmed({ isCrashed, outcome, cuts }: Told): boolean {
  return isCrashed || outcome === 'failed' || cuts.includes('timed out') || cuts.includes('load')
}

type Data = Record<string, unknown>

/** Whether a session has a deadline of its own, as if that were data. */
const EXPIRY = '(deadline)'

function effectOn(data: Data, { deed: { actions }, isFresh }: Effect): Data {
  const signIn = actions.findIndex(({ act }) => act === 'signIn')
  // Both clocks start anew.
  if (signIn !== -1) delete data[EXPIRY]
  for (const action of isFresh ? actions.slice(signIn + 1) : actions)
    switch (action.act) {
      case 'set':
        data[action.key] = action.value
        break
      case 'update':
        data[action.key] = increment(data[action.key])
        break
      case 'clear':
        for (const key of Object.keys(data)) if (key !== EXPIRY) delete data[key]
        break
      case 'expiry':
        data[EXPIRY] = 1
    }
  return data
}

function signInOf(actions: readonly Action[]): string | null {
  return actions.find((action) => action.act === 'signIn')?.user ?? null
}

/** JSON text that does not depend on the order of keys. */
function textOf(data: object): string {
  return JSON.stringify(Object.fromEntries(Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1))))
}
