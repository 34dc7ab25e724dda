import { setTimeout as pause } from 'node:timers/promises'

import type { Decision } from '../../../src/answer.ts'
import { idOf } from '../../../src/cookie/token.ts'
import { CookieJar } from '../../../src/testing/cookie-jar.ts'
import type { MutantName } from './mutants.ts'
import type { AdapterName, Found, FromServer, Gating, Report, Step, Stored } from './protocol.ts'
import type { Plan, Random, RequestPlan } from './scenarios.ts'
import type { Answer, Cluster } from './servers.ts'

/** One browser of a round, and the session that it began with. */
export interface Browser {
  readonly jar: CookieJar
  readonly base: { id: string; user: string | null; seed: string }
  /** The id that its cookie led to when all was over. */
  kept: string | null
}

/** One request, and all that came of it. `…At` are places in the order of happenings, as the clients saw it. */
export interface Exchange {
  readonly number: number
  readonly browser: Browser
  readonly steps: readonly Step[]
  readonly aborts: boolean
  /** The id that its cookie led to. */
  id: string | null
  sentAt: number | null
  answeredAt: number | null
  decidedAt: number | null
  deliveredAt: number | null
  hungUp: boolean
  over: boolean
  answer: Answer | null
  report: Report | null
  decision: Decision | null
}

/** What happened in a round, and what was left at its end. */
export interface History {
  readonly browsers: readonly Browser[]
  readonly exchanges: Exchange[]
  readonly stored: Stored[]
  /** What stands in the store at the end, by id. */
  found: Readonly<Record<string, Found>>
  /** Requests made when all was over: what each cookie still leads to. */
  readonly probes: { readonly id: string; readonly report: Report; readonly at: number }[]
  /** Whether somebody waits for something that will never come. */
  hung: boolean
  /** When it ended, by the servers' clock. */
  now: number
  /** One line for each happening, for whoever reads of a violation. */
  readonly log: string[]
}

/** Plays a plan on a cluster, in an order drawn from `random`. */
export async function playRound(
  cluster: Cluster,
  adapter: AdapterName,
  plan: Plan,
  random: Random,
  mutant: MutantName | null = null,
): Promise<History> {
  const round = new Round(cluster, adapter, random)
  cluster.listen((message, server) => round.hear(message, server))
  await round.prepare(plan)
  await round.race(plan, GATINGS[random(GATINGS.length)]!, mutant)
  await round.conclude()
  cluster.listen(null)
  return round.history
}

const GATINGS: readonly Gating[] = ['handlers', 'before', 'around', 'around']

interface Point {
  readonly server: number
  readonly point: number
  readonly request: number | null
  readonly at: string
}

/** One thing that can happen next, and to whom. */
interface Move {
  readonly kind: 'send' | 'go' | 'deliver' | 'hang up' | 'pass'
  readonly whose: string
  readonly take: () => Promise<void> | void
}

class Round {
  readonly history: History
  readonly #cluster: Cluster
  readonly #adapter: AdapterName
  readonly #random: Random
  readonly #main: Browser
  readonly #bystander: Browser
  readonly #answers = new Map<Exchange, { answer: Promise<Answer | null>; hangUp: () => void }>()
  readonly #points: Point[] = []
  /** By id, of every cookie that was ever given out. */
  readonly #tokens = new Map<string, string>()
  readonly #paces = new Map<string, number>()
  #passing: number[] = []
  #sentFirst = false
  #happenings = 0
  #tellHeard: () => void = () => {}

  constructor(cluster: Cluster, adapter: AdapterName, random: Random) {
    this.#cluster = cluster
    this.#adapter = adapter
    this.#random = random
    const browser = (user: string): Browser => ({
      jar: new CookieJar({ clock: { now: () => cluster.now, sleep: () => Promise.resolve() } }),
      base: { id: '', user, seed: `${user}, from request ${cluster.requests}` },
      kept: null,
    })
    this.#main = browser('vera')
    this.#bystander = browser('otto')
    this.history = {
      browsers: [this.#main, this.#bystander],
      exchanges: [],
      stored: [],
      found: {},
      probes: [],
      hung: false,
      now: 0,
      log: [],
    }
  }

  hear(message: FromServer, server: number): void {
    this.#tellHeard()
    switch (message.kind) {
      case 'waiting':
        this.#points.push({ server, point: message.point, request: message.request, at: message.at })
        return
      case 'stored': {
        const { operation, id, ok, request } = message
        this.history.stored.push(message)
        this.#log(`request ${request}: ${operation} ${short(id)} → ${ok}`)
        return
      }
      case 'reported': {
        const exchange = this.#exchange(message.report.request)
        if (exchange !== undefined) exchange.report = message.report
        return
      }
      case 'decided': {
        const { lookup, outcome, wrote, id } = message.decision
        const exchange = this.#exchange(message.request)
        if (exchange !== undefined)
          Object.assign(exchange, { decision: message.decision, decidedAt: this.#happenings++ })
        this.#log(`request ${message.request}: ${lookup}, ${outcome}, ${wrote} ${short(id)}`)
        return
      }
      case 'over': {
        const exchange = this.#exchange(message.request)
        if (exchange !== undefined) exchange.over = true
        return
      }
      case 'ended':
        this.#log('a server process has ended')
        this.history.hung = true
    }
  }

  /** Gives the browsers the sessions that they begin with, and lets these age. */
  async prepare({ base, age = 0 }: Plan): Promise<void> {
    this.#cluster.gate('none')
    await this.#cluster.settle()
    this.#main.base.user = base === 'anonymous' ? null : base
    for (const browser of this.history.browsers) {
      const { user, seed } = browser.base
      const steps: Step[] = [{ do: 'set', key: 'seed', value: seed }]
      if (user !== null) steps.push({ do: 'sign in', user })
      const first = this.#plan({ steps }, browser)
      await this.#send(first)
      first.answer = await this.#answers.get(first)!.answer
      this.#deliver(first)
      const cookie = carriedBy(browser)
      if (cookie === null) throw new Error(`No session to begin with: ${JSON.stringify(first.answer)}`)
      browser.base.id = cookie.id
      this.#tokens.set(cookie.id, cookie.token)
    }
    await this.#cluster.settle()
    this.history.exchanges.length = 0
    await this.#pass(age)
  }

  /** Lets everything happen that can, one thing after another or some at once, until nothing is left. */
  async race(
    { requests, passing = [], sentFirst = false }: Plan,
    gating: Gating,
    mutant: MutantName | null,
  ): Promise<void> {
    this.#cluster.gate(gating, mutant)
    await this.#cluster.settle()
    this.#passing = [...passing]
    this.#sentFirst = sentFirst
    for (const plan of requests) this.#plan(plan, this.#main)
    this.#plan({ steps: [{ do: 'pause' }, { do: 'update', key: 'count' }] }, this.#bystander)

    const isPaced = this.#random(2) === 0
    for (let moves = this.#moves(); !this.history.hung; moves = this.#moves()) {
      if (moves.length === 0) {
        if (this.history.exchanges.every(({ over }) => over)) break
        // Something that takes a timer, or a socket, its time to come to pass.
        if (!(await this.#hearsMore())) this.history.hung = true
        await this.#calm()
        continue
      }
      const move = isPaced ? this.#fastest(moves) : moves[this.#random(moves.length)]!
      // Several of a kind at once, now and then: then it is for the operating system to say which comes first.
      const alike = this.#random(3) === 0 ? moves.filter(({ kind }) => kind === move.kind) : []
      const also =
        move.kind === 'pass' ? [] : alike.filter((other) => other !== move && this.#random(2) === 0)
      for (const { take } of [move, ...also]) await take()
      await this.#calm()
    }
  }

  /** Sees what is left, in the store and for whoever asks over HTTP. */
  async conclude(): Promise<void> {
    const { history } = this
    this.#cluster.gate('none')
    if (history.hung) return
    await this.#cluster.settle()
    const ids = new Set(history.browsers.map(({ base }) => base.id))
    for (const { operation, id } of history.stored) if (operation === 'create') ids.add(id)
    for (const { decision } of history.exchanges) if (decision?.id != null) ids.add(decision.id)
    history.found = await this.#cluster.look([...ids])
    history.now = this.#cluster.now
    for (const browser of history.browsers) browser.kept = carriedBy(browser)?.id ?? null

    for (const [id, token] of this.#tokens) if (this.#isWorthAsking(id)) await this.#probe(id, token)
    // A deadline of the session's own is kept to the millisecond, whatever its idle timeout says. Time goes forward only: the earliest first.
    const own = Object.entries(history.found).flatMap(([id, found]) => {
      const token = this.#tokens.get(id)
      if (token === undefined || found?.kind !== 'live' || found.expiresAt === null) return []
      return [{ id, token, expiresAt: found.expiresAt }]
    })
    for (const { id, token, expiresAt } of own.sort((a, b) => a.expiresAt - b.expiresAt)) {
      await this.#pass(Math.max(0, expiresAt - this.#cluster.now - 1))
      await this.#probe(id, token)
      await this.#pass(1)
      await this.#probe(id, token)
    }
  }

  #plan({ steps, aborts = false }: RequestPlan, browser: Browser): Exchange {
    const exchange: Exchange = {
      number: ++this.#cluster.requests,
      browser,
      steps,
      aborts,
      id: null,
      sentAt: null,
      answeredAt: null,
      decidedAt: null,
      deliveredAt: null,
      hungUp: false,
      over: false,
      answer: null,
      report: null,
      decision: null,
    }
    this.history.exchanges.push(exchange)
    return exchange
  }

  /** All that can happen next. */
  #moves(): Move[] {
    const { exchanges } = this.history
    const unsent = exchanges.filter(({ sentAt }) => sentAt === null)
    const move = (kind: Move['kind'], number: number | null, take: Move['take']): Move => ({
      kind,
      whose: `${kind === 'deliver' ? kind : 'request'} ${number}`,
      take,
    })
    const sends = unsent.map((exchange) => move('send', exchange.number, () => this.#send(exchange)))
    if (this.#sentFirst && sends.length > 0) return sends
    // Time that passes while the store works counts against its deadline; a long time passes only while handlers dally.
    const isStoreBusy = this.#points.some(({ at }) => at !== 'handler')
    const mayPass = this.#passing.length > 0 && (this.#passing[0]! < 1000 || !isStoreBusy)
    return [
      ...sends,
      ...this.#points.map((point) => move('go', point.request, () => this.#letGo(point))),
      ...exchanges
        .filter(({ answer, deliveredAt }) => answer !== null && deliveredAt === null)
        .map((exchange) => move('deliver', exchange.number, () => this.#deliver(exchange))),
      ...exchanges
        .filter(({ aborts, sentAt, over, hungUp }) => aborts && sentAt !== null && !over && !hungUp)
        .map((exchange) => move('hang up', exchange.number, () => this.#hangUp(exchange))),
      ...(mayPass ? [move('pass', null, () => this.#pass(this.#passing.shift()!))] : []),
    ]
  }

  /**
   * The move of whoever is fastest, at a pace that is drawn for each and at times drawn anew: so that one request gets far while another has
   * hardly begun, which drawing each move by itself seldom brings about (Burckhardt et al., "A Randomized Scheduler with Probabilistic
   * Guarantees of Finding Bugs", ASPLOS 2010).
   */
  #fastest(moves: readonly Move[]): Move {
    const paceOf = ({ whose }: Move): number => {
      if (!this.#paces.has(whose)) this.#paces.set(whose, this.#random(1000))
      return this.#paces.get(whose)!
    }
    const fastest = moves.reduce((best, move) => (paceOf(move) > paceOf(best) ? move : best))
    if (this.#random(10) === 0) this.#paces.delete(fastest.whose)
    return fastest
  }

  async #send(exchange: Exchange): Promise<void> {
    const { number, browser, steps } = exchange
    const server = this.#cluster.servers[this.#random(this.#cluster.servers.length)]!
    const cookie = browser.jar.header(URL_)
    exchange.id = carriedBy(browser)?.id ?? null
    exchange.sentAt = this.#happenings++
    this.#log(`request ${number}: sent with ${short(exchange.id)}: ${steps.map(describe).join(', ')}`)
    this.#answers.set(exchange, server.request(this.#adapter, number, steps, cookie))
  }

  #letGo(point: Point): void {
    this.#points.splice(this.#points.indexOf(point), 1)
    this.#cluster.servers[point.server]!.send({ kind: 'go', points: [point.point] })
  }

  async #hangUp(exchange: Exchange): Promise<void> {
    exchange.hungUp = true
    this.#log(`request ${exchange.number}: hangs up`)
    this.#answers.get(exchange)!.hangUp()
    await this.#answers.get(exchange)!.answer
    // Servers learn of it when they do.
    while (!exchange.over && !this.history.hung) if (!(await this.#hearsMore())) this.history.hung = true
  }

  #deliver(exchange: Exchange): void {
    exchange.deliveredAt = this.#happenings++
    exchange.browser.jar.store(exchange.answer!.cookies, URL_)
    this.#log(
      `request ${exchange.number}: its answer arrives; the cookie is ${short(carriedBy(exchange.browser)?.id)} now`,
    )
  }

  async #pass(ms: number): Promise<void> {
    this.#cluster.advance(ms)
    this.#log(`${ms} ms pass`)
    await this.#cluster.settle()
    await this.#expireInRedis()
  }

  /** Redis goes by a clock of its own, which no test can move: what has run out by ours is taken away. */
  async #expireInRedis(): Promise<void> {
    const { redis, now } = this.#cluster
    if (redis === null) return
    const ends = new Map<string, number>()
    for (const { operation, id, ok, until } of this.history.stored)
      if (ok && until !== null)
        ends.set(id, operation === 'touch' ? Math.max(until, ends.get(id) ?? 0) : until)
    for (const [id, until] of ends) if (until <= now) await redis.tell(`UNLINK holdfast:session:${id}`)
  }

  /** Waits until nothing goes on any more, and takes the answers that have come. */
  async #calm(): Promise<void> {
    await this.#cluster.settle()
    for (const exchange of this.history.exchanges) {
      if (!exchange.over || exchange.hungUp || exchange.answeredAt !== null) continue
      exchange.answer = await this.#answers.get(exchange)!.answer
      exchange.answeredAt = this.#happenings++
      for (const line of exchange.answer?.cookies ?? []) {
        const cookie = cookieIn(line)
        if (cookie !== null) this.#tokens.set(cookie.id, cookie.token)
      }
      this.#log(`request ${exchange.number}: answered ${exchange.answer?.status}`)
    }
  }

  /** Waits for any word from a server; false when there is none. */
  async #hearsMore(): Promise<boolean> {
    const silence = new AbortController()
    const isSilent = pause(PATIENCE, true, { signal: silence.signal }).catch(() => true)
    const heard = new Promise<boolean>((resolve) => (this.#tellHeard = () => resolve(false)))
    const result = await Promise.race([isSilent, heard])
    silence.abort()
    return !result
  }

  async #probe(id: string, token: string): Promise<void> {
    const number = ++this.#cluster.requests
    const server = this.#cluster.servers[this.#random(this.#cluster.servers.length)]!
    const answer = await server.request(this.#adapter, number, [], `${COOKIE}=${token}`).answer
    const report = JSON.parse(answer?.body || 'null') as Report | null
    if (report !== null) this.history.probes.push({ id, report, at: this.#cluster.now })
    await this.#cluster.settle()
  }

  /** Those that live, and some of the dead. */
  #isWorthAsking(id: string): boolean {
    return this.history.found[id]?.kind === 'live' || this.#random(2) === 0
  }

  #exchange(number: number): Exchange | undefined {
    return this.history.exchanges.find((exchange) => exchange.number === number)
  }

  #log(line: string): void {
    this.history.log.push(line)
  }
}

/** In milliseconds. */
const PATIENCE = 15_000

/** Where the browser believes to be. */
const URL_ = 'http://127.0.0.1/'
const COOKIE = '__Host-session'

interface Cookie {
  readonly id: string
  readonly token: string
}

/** The cookie that a Set-Cookie line gives; null for one that takes it away. */
export function cookieIn(line: string): Cookie | null {
  const token = new RegExp(`^${COOKIE}=([^;]+)`).exec(line)?.[1]
  return token === undefined ? null : { token, id: idOf(token) }
}

/** The cookie that a browser would send now. */
export function carriedBy({ jar }: Browser): Cookie | null {
  return cookieIn(jar.header(URL_) ?? '')
}

function describe(step: Step): string {
  const { do: act, ...rest } = step
  return [act, ...Object.values(rest)].join(' ')
}

/** An id as it is told of in logs. */
export function short(id: string | null | undefined): string {
  return id?.slice(0, 6) ?? 'none'
}
