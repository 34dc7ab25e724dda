import { AsyncLocalStorage } from 'node:async_hooks'

import type { Commit } from '../../src/answer.ts'
import type { Clock } from '../../src/clock.ts'
import type { SessionsOptions } from '../../src/options.ts'
import type { Session } from '../../src/session/session.ts'
import { createSessions } from '../../src/sessions.ts'
import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark, SessionStore } from '../../src/stores/store.ts'
import type { Call } from './gate.ts'
import { GatedStore, SteppedClock } from './gate.ts'
import type { Excuse, Violation } from './model.ts'
import { Judge } from './model.ts'
import type { Faults, Scenario } from './scenario.ts'
import {
  actionsOf,
  beginningOf,
  FIRST,
  handle,
  IDLE,
  isEvent,
  MARGIN,
  PAST_DEADLINE,
  STORE_TIMEOUT,
  TOUCH_EVERY,
} from './scenario.ts'

/** Whether the reply to what was carried out arrived, came to a dead process, or to one that had given up on it. */
export type Fate = 'answered' | 'unanswered' | 'too late'

/** How a reply is lost: by a cut connection, on which the call was lost or delayed, or by the deadline. */
export type Cut = 'lost' | 'delayed' | 'timed out'

/** One thing that happened. A list of them is an order, and all that it came to. */
export type Happening =
  | { readonly kind: 'sent'; readonly request: number; readonly id: string | null }
  | { readonly kind: 'handled'; readonly request: number }
  | {
      readonly kind: 'called'
      /** Null where a server's queue asked, for one request or several. */
      readonly request: number | null
      readonly call: Call
      readonly result: unknown
      /** Whether it is the look-up that opens a request's session. */
      readonly opens: boolean
      readonly fate: Fate
    }
  /** A reply was lost; what was asked arrives later, or never. */
  | { readonly kind: 'cut'; readonly request: number | null; readonly call: Call; readonly how: Cut }
  /** A save or commit ended; `id` is the session's now. */
  | {
      readonly kind: 'settled'
      readonly request: number
      readonly outcome: string
      readonly id: string | null
    }
  | {
      readonly kind: 'answered'
      readonly request: number
      readonly cookie: 'left' | 'set' | 'cleared'
      readonly error: Error | null
    }
  | { readonly kind: 'delivered'; readonly request: number; readonly jar: string | null }
  | { readonly kind: 'dropped' | 'crashed'; readonly request: number }
  | { readonly kind: 'passed'; readonly ms: number }

/** Where records live during one order. */
export interface Backend {
  /** When the next order begins, in epoch milliseconds. */
  start(): number
  /** A store that seems empty then. */
  open(clock: Clock): SessionStore | Promise<SessionStore>
  /** What will stand under an id in `ms` milliseconds, if nobody asks for it until then. */
  look(id: string, ms: number): Promise<SessionData | Mark | null>
  /** Ends a record whose time is up, where the store goes by another clock than the one it was opened with. */
  expire?(id: string): Promise<void>
}

/** A way to break what is under test, to see that the check fails. */
export interface Variant {
  /** In the store itself: what it does in one step. */
  readonly store?: (store: SessionStore) => SessionStore
  /** Between the core and the store: what the core asks for. */
  readonly calls?: (store: SessionStore) => SessionStore
  /** In the answers. */
  readonly commit?: (commit: Commit, clearing: string) => Commit
}

/** One thing that can happen next. */
export interface Step {
  readonly label: string
  /** The fingerprint that taking it leads to. */
  readonly leadsTo: string
}

const CUTS: readonly Cut[] = ['lost', 'delayed', 'timed out']
/** Longer than a rotation's new record waits for its old one to end, in milliseconds. */
const PENDING = 6000

/**
 * A few requests of one browser, and the store they meet in; nothing goes on in it but by a step that is taken. It
 * runs the real core: what waits is each store operation before it is carried out, a handler before it runs, a request before it is sent,
 * and an answer before it arrives.
 */
export class World {
  readonly scenario: Scenario
  readonly history: Happening[] = []
  /** The browser's one cookie. */
  jar: string | null
  readonly #backend: Backend
  readonly #clock: SteppedClock
  readonly #judge: Judge
  readonly #processes: Process[] = []
  readonly #requests: Request[] = []
  /** The id that each cookie leads to. */
  readonly #ids = new Map<string, string>([[FIRST.token, FIRST.id]])
  /** How many operations that write each id has seen. */
  readonly #writes = new Map<string, number>()
  readonly #canonical: boolean
  #store!: SessionStore
  #held: Held[] = []
  /** Whose promises are running. */
  readonly #running = new AsyncLocalStorage<Request>()
  #path: Path
  /** When the first session's time to live is over. */
  #firstEnds: number
  /** What ids are called: the same in every order in which they come to be in the same way. */
  readonly names = new Map([[FIRST.id, 'X']])

  private constructor(scenario: Scenario, options: WorldOptions) {
    this.scenario = scenario
    this.#clock = new SteppedClock(options.backend.start())
    const beginning = beginningOf(scenario, this.now)
    this.#judge = new Judge(scenario, beginning, this.now)
    this.#backend = options.backend
    this.#firstEnds = beginning.endsAt
    this.jar = beginning.jar
    this.#canonical = options.canonical ?? false
    const left = { crash: 0, lost: 0, drop: 0, marks: 0, ...scenario.faults }
    this.#path = { trails: {}, left, jar: this.#nameOf(this.jar), sendable: 0, passed: 0 }
  }

  static async open(scenario: Scenario, options: WorldOptions): Promise<World> {
    const world = new World(scenario, options)
    const variant = options.variant ?? {}
    const store = await options.backend.open(world.#clock)
    world.#store = variant.store?.(store) ?? store
    const { record, endsAt, mark } = beginningOf(scenario, world.now)
    if (record !== null) await store.create(record.id, record, (endsAt - world.now) / 1000)
    if (mark !== null) await store.end(FIRST.id, mark)
    for (const [i, kind] of scenario.kinds.entries()) {
      if (scenario.mode === 'several processes' || i === 0) world.#processes.push(world.#start(variant))
      world.#requests.push({
        index: i,
        state: isEvent(kind) ? 'event' : 'unsent',
        process: world.#processes.at(-1)!,
        token: null,
        isOpen: false,
        cookie: undefined,
      })
    }
    return world
  }

  get now(): number {
    return this.#clock.now()
  }

  /** All that can happen next, in an order that is always the same. */
  steps(): Step[] {
    return this.#moves().map(({ label, adds }) => ({ label, leadsTo: textOf(this.#pathBy(adds)) }))
  }

  /** Takes the step of this number, and waits until nothing moves any more. */
  async take(index: number): Promise<void> {
    const { adds, go } = this.#moves()[index]!
    this.#path = this.#pathBy(adds)
    await go()
    // By the time of the next turn of the event loop every promise callback has run that can.
    await new Promise(setImmediate)
  }

  #moves(): Move[] {
    const moves: Move[] = []
    const { sendable, left } = this.#path
    for (const request of this.#requests)
      if (request.state === 'unsent' && request.index >= sendable) moves.push(this.#sending(request))
    for (const held of this.#held) this.#addCalls(moves, held)
    for (const request of this.#requests) {
      if (request.state === 'answered') {
        moves.push(this.#delivery(request))
        if (left.drop > 0) moves.push(this.#loss(request))
      }
      if (request.state === 'event') moves.push(this.#expiry(request))
    }
    const isQuiet = this.#held.every(({ call }) => call === null)
    if (left.marks > 0 && isQuiet && moves.length > 0)
      moves.push({ label: 'marks', adds: { spends: 'marks', passes: true }, go: () => this.#pass(31_000) })
    return moves
  }

  /**
   * Whether every request was sent and came to its end. What is not, with no step left, is either stuck, or the beginning of an
   * order that is counted elsewhere.
   */
  get isComplete(): boolean {
    return this.#requests.every(({ state }) => state === 'done')
  }

  get isStuck(): boolean {
    return this.#requests.some(({ state }) => state === 'running')
  }

  /** Equal for two orders only if all that follows is the same after both. */
  get fingerprint(): string {
    return textOf(this.#path)
  }

  /** What is wrong so far. */
  get violations(): readonly Violation[] {
    return this.#judge.violations
  }

  get excuses(): ReadonlySet<Excuse> {
    return this.#judge.excuses
  }

  /** Judges how a complete order ended, once nothing is pending any more. */
  judge(): Promise<void> {
    return this.#judge.judge((id, ms = 0) => this.#backend.look(id, PENDING + ms), this.isComplete)
  }

  #start(variant: Variant): Process {
    const clock = new SteppedClock(0, this.#clock)
    const process: Process = { clock, sessions: null!, isDead: false }
    const gate = new GatedStore((call, run) => this.#hold(call, run))
    const options: SessionsOptions = {
      store: variant.calls?.(gate) ?? gate,
      clock,
      idleTimeout: IDLE,
      touchEvery: TOUCH_EVERY,
      storeTimeout: STORE_TIMEOUT,
    }
    const sessions = createSessions(options)
    process.sessions = {
      cookieName: sessions.cookie.name,
      open: (header) => sessions.open(header),
      async commit(session) {
        const commit = await sessions.commit(session)
        return variant.commit?.(commit, `${sessions.cookie.name}=; Max-Age=0`) ?? commit
      },
    }
    return process
  }

  #sending(request: Request): Move {
    // Who had been answered by now counts: what they were told, this request must see.
    const answered = this.#requests.filter(({ state }) => state === 'answered' || state === 'done')
    const told = answered.map(({ index }) => index).join('')
    return {
      label: `send ${request.index}`,
      adds: { on: `${request.index}`, trail: `${this.#nameOf(this.jar)}<${told}`, sends: request.index + 1 },
      go: () => {
        request.state = 'running'
        request.token = this.jar
        this.#watch({ kind: 'sent', request: request.index, id: this.#idOf(this.jar) })
        void this.#running.run(request, () => this.#serve(request))
      },
    }
  }

  async #serve(request: Request): Promise<void> {
    const { index, token, process } = request
    const { sessions } = process
    try {
      const session = await sessions.open(token === null ? undefined : `${sessions.cookieName}=${token}`)
      request.isOpen = true
      if (this.#mayPause) await this.#hold(null, () => Promise.resolve())
      this.#watch({ kind: 'handled', request: index })
      const settled = (outcome: string): void =>
        this.#watch({ kind: 'settled', request: index, outcome, id: session.id })
      await handle(session, actionsOf(this.scenario.kinds[index]!, index), settled)
      const { headers, outcome, decision } = await sessions.commit(session)
      this.#watch({ kind: 'settled', request: index, outcome, id: decision.id })
      const value = cookieIn(headers)
      if (value) this.#ids.set(value, decision.id!)
      this.#answer(request, value, null)
    } catch (error) {
      this.#watch({ kind: 'settled', request: index, outcome: 'failed', id: null })
      this.#answer(request, undefined, error as Error)
    }
  }

  /** A handler takes its time where that makes a difference: between processes, waiting at the first write is just the same. */
  get #mayPause(): boolean {
    const { mode, kinds, faults } = this.scenario
    return mode === 'one process' || kinds.some(isEvent) || (faults?.marks ?? 0) > 0
  }

  #answer(request: Request, cookie: string | null | undefined, error: Error | null): void {
    request.cookie = cookie
    // An answer without the cookie changes nothing in the browser: no matter when it arrives.
    request.state = cookie === undefined ? 'done' : 'answered'
    const decided = cookie === undefined ? 'left' : cookie === null ? 'cleared' : 'set'
    this.#watch({ kind: 'answered', request: request.index, cookie: decided, error })
  }

  #delivery(request: Request): Move {
    const jar = request.cookie ?? null
    return {
      label: `deliver ${request.index}`,
      adds: { on: `${request.index}`, trail: '>', jar: this.#nameOf(jar) },
      go: () => {
        request.state = 'done'
        this.jar = jar
        this.#watch({ kind: 'delivered', request: request.index, jar: this.#idOf(jar) })
      },
    }
  }

  #loss(request: Request): Move {
    return {
      label: `drop ${request.index}`,
      adds: { on: `${request.index}`, trail: 'x', spends: 'drop' },
      go: () => {
        request.state = 'done'
        this.#watch({ kind: 'dropped', request: request.index })
      },
    }
  }

  #expiry(request: Request): Move {
    return {
      label: `expire ${request.index}`,
      adds: { passes: true },
      go: () => {
        request.state = 'done'
        return this.#pass(2 * MARGIN)
      },
    }
  }

  async #pass(ms: number): Promise<void> {
    this.#clock.advance(ms)
    if (this.#firstEnds <= this.now) await this.#backend.expire?.(FIRST.id)
    this.#watch({ kind: 'passed', ms })
  }

  /** Keeps a call, or a handler, until the scheduler lets it go on. */
  #hold<R>(call: Call | null, run: (store: SessionStore) => Promise<R>): Promise<R> {
    const request = this.#running.getStore()!
    // Nothing more of a dead process runs.
    if (request.process.isDead) return new Promise(() => {})
    return new Promise<R>((resolve, reject) => {
      this.#held.push({
        request,
        call,
        opens: !request.isOpen,
        isQueued: this.scenario.mode === 'one process' && request.isOpen && request.token !== null,
        run,
        resolve: resolve as (value: unknown) => void,
        reject,
        isLate: false,
      })
    })
  }

  #addCalls(moves: Move[], held: Held): void {
    const { call, request, isLate, isQueued } = held
    const { left, passed } = this.#path
    // What a server does for one session it does in line, for whoever is next; so the order within the line counts.
    const on = isQueued ? this.#nameOf(request.token) : `${request.index}`
    if (call === null) {
      const go = (): void => {
        this.#drop(held)
        held.resolve(undefined)
      }
      moves.push({ label: `handler ${request.index}`, adds: { on, trail: `h${request.index}${passed}` }, go })
      return
    }
    const at = `${isQueued ? '' : request.index} ${call.operation}`
    const turn = `${call.operation[0]}${this.#nameOf(call.id)}${this.#writes.get(call.id) ?? 0}.${passed}`
    moves.push({
      label: isLate ? `late ${at}` : at,
      adds: { on, trail: isLate ? `${turn}late` : turn },
      go: async () => {
        const result = await this.#carryOut(held, isLate ? 'too late' : 'answered')
        if (!isLate) held.resolve(result)
      },
    })
    if (isLate) return
    const writes = call.operation !== 'load'
    if (left.lost > 0)
      for (const how of writes ? CUTS : CUTS.slice(0, 1)) {
        const adds: Addition = { on, trail: how, spends: 'lost', passes: how === 'timed out' }
        moves.push({ label: `${how} ${at}`, adds, go: () => this.#cut(held, how) })
      }
    if (left.crash > 0 && writes && this.scenario.mode === 'several processes') {
      const adds: Addition = { on, trail: '†', spends: 'crash' }
      moves.push({ label: `crash before ${at}`, adds, go: () => this.#crash(request) })
      moves.push({
        label: `crash after ${at}`,
        adds: { ...adds, trail: `${turn}†` },
        go: async () => {
          await this.#carryOut(held, 'unanswered')
          this.#crash(request)
        },
      })
    }
  }

  async #carryOut(held: Held, fate: Fate): Promise<unknown> {
    const { call, request, opens, isQueued, run } = held
    const { id, operation } = call!
    this.#drop(held)
    // What only reads may change places with what only reads.
    if (operation !== 'load') this.#writes.set(id, (this.#writes.get(id) ?? 0) + 1)
    const result = await run(this.#store)
    if (operation === 'create') this.#nameAfter(isQueued ? request.process : request, id)
    if (id === FIRST.id && 'ttl' in call! && result === true) {
      const ends = this.now + call.ttl * 1000
      this.#firstEnds = operation === 'touch' ? Math.max(this.#firstEnds, ends) : ends
    }
    this.#watch({
      kind: 'called',
      request: isQueued ? null : request.index,
      call: call!,
      result,
      opens,
      fate,
    })
    return result
  }

  #cut(held: Held, how: Cut): void {
    const { call, request, isQueued } = held
    this.#watch({ kind: 'cut', request: isQueued ? null : request.index, call: call!, how })
    if (how === 'lost') this.#drop(held)
    held.isLate = true
    if (how === 'timed out') request.process.clock.advance(PAST_DEADLINE)
    else held.reject(new Error('The connection was cut.'))
  }

  #crash(request: Request): void {
    request.process.isDead = true
    if (request.state === 'running') request.state = 'done'
    this.#held = this.#held.filter((held) => held.request !== request || held.isLate)
    this.#watch({ kind: 'crashed', request: request.index })
  }

  #drop(held: Held): void {
    this.#held = this.#held.filter((other) => other !== held)
  }

  #watch(happening: Happening): void {
    this.history.push(happening)
    this.#judge.observe(happening, this.now)
  }

  #pathBy({ on, trail, jar, sends, spends, passes }: Addition): Path {
    const { trails, left, passed } = this.#path
    // A request that is sent later with the same cookie in the jar is the same request: only after an answer is it another.
    const sendable = sends ?? (jar === undefined ? Infinity : 0)
    return {
      trails: on === undefined ? trails : { ...trails, [on]: `${trails[on] ?? ''}${trail},` },
      left: spends === undefined ? left : { ...left, [spends]: left[spends] - 1 },
      jar: jar === undefined ? this.#path.jar : `${this.#path.jar}>${jar}`,
      sendable: this.#canonical ? sendable : 0,
      passed: passes === true ? passed + 1 : passed,
    }
  }

  #idOf(token: string | null): string | null {
    return token === null ? null : this.#ids.get(token)!
  }

  /** What an id is called, or the one that a token leads to. */
  #nameOf(idOrToken: string | null): string {
    if (idOrToken === null) return '-'
    return this.names.get(this.#ids.get(idOrToken) ?? idOrToken) ?? 'new'
  }

  #nameAfter(maker: Request | Process, id: string): void {
    if (this.names.has(id)) return
    const owner = 'state' in maker ? `${maker.index}` : ''
    const letter = 'abcdefgh'[[...this.names.values()].filter((name) => name.startsWith(`N${owner}`)).length]!
    this.names.set(id, `N${owner}${letter}`)
  }
}

export interface WorldOptions {
  readonly backend: Backend
  readonly variant?: Variant | undefined
  /** Leaves out orders that differ only in when a request was sent with the same cookie. */
  readonly canonical?: boolean
}

interface Process {
  readonly clock: SteppedClock
  sessions: Manager
  isDead: boolean
}

interface Manager {
  readonly cookieName: string
  open(header: string | undefined): Promise<Session>
  commit(session: Session): Promise<Commit>
}

interface Request {
  readonly index: number
  readonly process: Process
  state: 'unsent' | 'running' | 'answered' | 'done' | 'event'
  /** The cookie it carries. */
  token: string | null
  /** Whether its session has been opened. */
  isOpen: boolean
  /** What its answer does to the cookie: a new value, null to take it away, undefined for nothing. */
  cookie: string | null | undefined
}

/** What waits to go on. */
interface Held {
  /** Whose promises led here; where a server's queue asks, one of those in line. */
  readonly request: Request
  /** Null for a handler. */
  readonly call: Call | null
  /** Whether it opens the request's session. */
  readonly opens: boolean
  /** Whether a server's queue may ask, on behalf of others too. */
  readonly isQueued: boolean
  readonly run: (store: SessionStore) => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  /** Whether nobody waits for it any more. */
  isLate: boolean
}

/** A step, with what it takes. */
interface Move {
  readonly label: string
  readonly adds: Addition
  go(): Promise<void> | void
}

/** How a state was come to, as far as it makes a difference. */
interface Path {
  /** What each request has met with, by its number, and what a server did in each of its lines, by the line's session. */
  readonly trails: { readonly [on: string]: string }
  readonly left: Required<Faults>
  /** What the browser's cookie led to, one after the other, by name. */
  readonly jar: string
  /** Requests from this one on may be sent now. */
  readonly sendable: number
  /** How often time has passed. */
  readonly passed: number
}

/** What a step adds to the path. */
interface Addition {
  readonly on?: string
  readonly trail?: string
  readonly jar?: string
  /** A request is sent; those from this one on may be sent next. */
  readonly sends?: number
  readonly spends?: keyof Faults
  readonly passes?: boolean
}

/** The cookie's new value in an answer; null when it is taken away, undefined when nothing is said. */
function cookieIn(headers: Commit['headers']): string | null | undefined {
  const line = headers.find(([name]) => name === 'Set-Cookie')?.[1]
  if (line === undefined) return undefined
  return /=([^;]*)/.exec(line)![1] || null
}

function textOf({ trails, left, jar, sendable, passed }: Path): string {
  const entries = Object.entries(trails).sort(([a], [b]) => (a < b ? -1 : 1))
  return [...entries.flat(), jar, sendable, passed, ...Object.values(left)].join('|')
}
