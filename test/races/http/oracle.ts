import { PENDING } from '../../../src/session/expiry.ts'
import type { Step } from './protocol.ts'
import type { Browser, Exchange, History } from './round.ts'
import { cookieIn, short } from './round.ts'
import { COUNTER, IDLE_MS } from './scenarios.ts'

/** What must never happen. */
export const KINDS = [
  'lost write',
  'lost session',
  'unacknowledged write',
  'risen session',
  'wrong user',
  'cookie overwritten',
  'orphan record',
  'refused',
  'server error',
] as const

export interface Violation {
  readonly kind: (typeof KINDS)[number]
  readonly what: string
}

/** Holds what a round left against what its answers had promised. */
export function judge(history: History): Violation[] {
  const judgement = new Judgement(history)
  return history.hung
    ? [{ kind: 'server error', what: 'somebody waits for an answer that will never come' }]
    : judgement.violations()
}

/** A change, or a sign-in, that was told to be saved. */
interface Acknowledged {
  readonly by: Exchange
  readonly step: Step
  /** The id that it was saved under. */
  readonly id: string
}

class Judgement {
  readonly #history: History
  readonly #found: Violation[] = []
  /** Whose session each id is, or was. */
  readonly #users = new Map<string, string | null>()
  /** What each id was rotated into. */
  readonly #successors = new Map<string, string>()
  readonly #destroyed = new Set<string>()
  readonly #ended = new Set<string>()
  readonly #acknowledged: Acknowledged[] = []
  /** Changes of which nothing is known: their request had no decision. */
  #unknown = 0

  constructor(history: History) {
    this.#history = history
    for (const { base } of history.browsers) this.#users.set(base.id, base.user)
    for (const { operation, ok, id, mark } of history.stored) {
      if (operation !== 'end' || !ok) continue
      if (this.#ended.has(id)) this.#report('risen session', `${short(id)} was ended twice`)
      this.#ended.add(id)
      if (mark!.reason === 'rotated') this.#successors.set(id, mark!.successor!)
      if (mark!.reason === 'destroyed') this.#destroyed.add(id)
    }
    for (const exchange of history.exchanges.toSorted((a, b) => a.decidedAt! - b.decidedAt!))
      this.#noteUser(exchange)
    for (const exchange of history.exchanges) this.#noteAcknowledged(exchange)
  }

  violations(): Violation[] {
    this.#checkAnswers()
    this.#checkWrites()
    this.#checkEnds()
    this.#checkExpiry()
    this.#checkRecords()
    this.#checkProbes()
    for (const browser of this.#history.browsers) this.#checkCookie(browser)
    return this.#found
  }

  // what was promised

  #noteUser(exchange: Exchange): void {
    const { decision, id } = exchange
    if (decision?.id == null || this.#users.has(decision.id)) return
    const before = id === null ? null : (this.#users.get(id) ?? null)
    const signIn = hasFailed(exchange)
      ? undefined
      : doneSteps(exchange).findLast((step) => step.do === 'sign in')
    this.#users.set(decision.id, signIn?.user ?? (decision.wrote === 'rotated' ? before : null))
  }

  #noteAcknowledged(exchange: Exchange): void {
    const { decision, report, id } = exchange
    let pending: Step[] = []
    let saves = 0
    const settle = (outcome: string | undefined, under: string | null | undefined): void => {
      if (outcome === 'saved')
        this.#acknowledged.push(...pending.map((step) => ({ by: exchange, step, id: under! })))
      else if (outcome === undefined) this.#unknown += pending.length
      else if (outcome === 'unchanged' && pending.length > 0)
        this.#report('lost write', 'it was told that there was nothing to save', exchange)
      else if (outcome === 'gone' && id !== null && !this.#hasEnded(id))
        this.#report('refused', `${short(id)} was told to be gone, and is not`, exchange)
      pending = []
    }
    const commit = (): void => {
      // An answer of 500 saves no data, whatever else is committed with it.
      if (hasFailed(exchange)) pending = []
      else settle(decision?.outcome, decision?.id)
    }
    for (const step of doneSteps(exchange))
      switch (step.do) {
        case 'set':
        case 'update':
        case 'set expiry':
          pending.push(step)
          break
        case 'sign in':
          // Nothing of another user's session, nor of one that has ended, comes along.
          if (!this.#comesAlong(id, decision?.id)) pending = []
          pending.push(step)
          break
        case 'save': {
          const saved = report?.saves[saves++]
          settle(saved?.outcome, saved?.id)
          break
        }
        case 'head':
          commit()
      }
    if (!exchange.steps.some((step) => step.do === 'head')) commit()
  }

  /** Whether what an id held goes on under another. */
  #comesAlong(id: string | null, into: string | null | undefined): boolean {
    if (id === null || into == null || this.#successors.get(id) !== into) return false
    const user = this.#users.get(id) ?? null
    return user === null || user === this.#users.get(into)
  }

  /** Whether an id had an end in this round: it was ended, or its time has run out. */
  #hasEnded(id: string): boolean {
    return this.#ended.has(id) || this.#history.found[id]?.kind !== 'live'
  }

  /** The ids that an id's session has had, this one first. */
  #lineage(id: string): string[] {
    const before = [...this.#successors].find(([old, next]) => next === id && this.#comesAlong(old, id))?.[0]
    return before === undefined ? [id] : [id, ...this.#lineage(before)]
  }

  /** Where an id's session has gone. */
  #latest(id: string): string {
    const next = this.#successors.get(id)
    return next !== undefined && this.#comesAlong(id, next) ? this.#latest(next) : id
  }

  // whether it was kept

  #checkAnswers(): void {
    for (const exchange of this.#history.exchanges) {
      const { answer, hungUp, report, decision, steps, number, browser } = exchange
      const throws = report?.error === 'thrown by the handler'
      if (answer === null && !hungUp) this.#report('server error', 'no answer came', exchange)
      if (answer !== null && answer.status >= 500 && !throws)
        this.#report('server error', `status ${answer.status}, ${report?.error}`, exchange)
      // Who had no session cannot begin one once the head has left, and is told so.
      const isTooLate = report?.error === 'ERR_SESSION_HEADERS_SENT' && ledNowhere(exchange)
      if (report?.error != null && !throws && !isTooLate) this.#report('server error', report.error, exchange)
      if (answer?.status === 200 && (JSON.parse(answer.body) as { request: number }).request !== number)
        this.#report('wrong user', "it was given another request's answer", exchange)

      const { user = null, data = {} } = report?.seen ?? {}
      const owner = exchange.id === null ? null : (this.#users.get(exchange.id) ?? null)
      if (user !== null && user !== owner)
        this.#report('wrong user', `${owner} was taken for ${user}`, exchange)
      if ('seed' in data && data['seed'] !== browser.base.seed)
        this.#report(
          'wrong user',
          `${browser.base.seed} was shown the data of ${String(data['seed'])}`,
          exchange,
        )

      const signsIn = doneSteps(exchange).some((step) => step.do === 'sign in')
      const isDestroyed = this.#destroyed.size > 0
      if (answer !== null && signsIn && !throws && decision?.outcome !== 'saved' && !isDestroyed)
        this.#report('refused', `a sign-in was told ${decision?.outcome}`, exchange)

      const lines = answer?.cookies ?? []
      if (lines.length > 1) this.#report('cookie overwritten', 'it was sent two cookies', exchange)
      for (const line of lines) {
        const cookie = cookieIn(line)
        if (cookie === null) {
          if (decision?.outcome !== 'destroyed')
            this.#report('cookie overwritten', `${decision?.outcome}, and the cookie is cleared`, exchange)
        } else if (cookie.id !== decision?.id)
          this.#report('cookie overwritten', 'its cookie leads elsewhere than was decided', exchange)
        else if (decision.lookup === 'ended' && !steps.some((step) => step.do === 'sign in'))
          this.#report('cookie overwritten', 'its session had ended, and a cookie was set', exchange)
      }
    }
  }

  #checkWrites(): void {
    for (const { by, step, id } of this.#acknowledged) {
      const latest = this.#latest(id)
      const found = this.#history.found[latest]
      if (found?.kind !== 'live') {
        if (!this.#isExplained(latest)) this.#report('lost session', `${short(latest)} is not there`, by)
        continue
      }
      if (step.do === 'set' && found.data[step.key] !== step.value)
        this.#report('lost write', `${step.key} is ${JSON.stringify(found.data[step.key])}`, by)
      if (step.do === 'sign in' && found.user !== step.user)
        this.#report('wrong user', `${step.user} signed in, and ${found.user} is`, by)
    }
  }

  /** Whether it is right that an id does not live any more. */
  #isExplained(id: string): boolean {
    const rotatedAway = this.#successors.has(id) && !this.#comesAlong(id, this.#successors.get(id))
    return this.#destroyed.has(id) || rotatedAway || this.#history.now >= this.#endOf(id)
  }

  /** When an id's time runs out, by what the store was told. */
  #endOf(id: string): number {
    let end = -Infinity
    for (const { operation, id: of, ok, until } of this.#history.stored)
      if (of === id && ok && until !== null) end = operation === 'touch' ? Math.max(end, until) : until
    return end
  }

  #checkRecords(): void {
    const given = new Set(this.#history.browsers.map(({ base }) => base.id))
    for (const { decision } of this.#history.exchanges)
      if (decision?.cookie === 'set') given.add(decision.id!)

    for (const [id, found] of Object.entries(this.#history.found)) {
      if (found?.kind !== 'live') continue
      if (!given.has(id)) this.#report('orphan record', `${short(id)} lives, and no cookie leads to it`)
      const lineage = this.#lineage(id)
      const own = this.#acknowledged.filter((change) => lineage.includes(change.id))
      const base = this.#history.browsers.find((browser) => lineage.includes(browser.base.id))?.base

      const counted = own.filter(({ step }) => step.do === 'update').length
      const count = (found.data[COUNTER] as number | undefined) ?? 0
      if (count < counted) this.#report('lost write', `${short(id)} counts ${count} of ${counted} updates`)
      if (count > counted + this.#unknown)
        this.#report(
          'unacknowledged write',
          `${short(id)} counts ${count}, and ${counted} updates were acknowledged`,
        )

      for (const [key, value] of Object.entries(found.data)) {
        const isOwn =
          key === COUNTER ||
          (key === 'seed' && value === base?.seed) ||
          own.some(({ step }) => step.do === 'set' && step.key === key)
        if (!isOwn && this.#unknown === 0)
          this.#report('unacknowledged write', `${short(id)} holds ${key}, which nobody was told to be saved`)
      }
      if (base !== undefined && !('seed' in found.data))
        this.#report('lost write', `${short(id)} has lost what the session began with`)

      const deadlines = own.flatMap(({ step }) => (step.do === 'set expiry' ? [step.seconds] : []))
      if (
        deadlines.length > 0 &&
        !deadlines.some((seconds) => isNear(found.expiresAt, this.#history.now + seconds * 1000))
      )
        this.#report('lost write', `${short(id)} ends at ${found.expiresAt}, whatever setExpiry said`)
    }
  }

  #checkEnds(): void {
    for (const id of this.#dead()) {
      if (this.#history.found[id]?.kind === 'live') this.#report('risen session', `${short(id)} lives`)
    }
    // Whoever asks after the answer to the request that ended a session must not find it.
    for (const ender of this.#history.exchanges) {
      const { id, answeredAt, decision } = ender
      const ends = decision?.outcome === 'destroyed' || decision?.wrote === 'rotated'
      if (id === null || answeredAt === null || !ends) continue
      for (const later of this.#history.exchanges)
        if (later.id === id && later.sentAt! > answeredAt && later.decision?.lookup === 'live')
          this.#report('risen session', `${short(id)} was ended by request ${ender.number}`, later)
    }
  }

  /** The ids that must not live: ended ones, and what a sign-out's cookie led to, along the rotations under one user. */
  #dead(): Set<string> {
    const dead = new Set(this.#ended)
    for (const { id, decision } of this.#history.exchanges) {
      if (decision?.outcome !== 'destroyed') continue
      for (let next: string | undefined = id ?? undefined; next !== undefined;) {
        dead.add(next)
        const successor = this.#successors.get(next)
        const isSameUser = successor !== undefined && this.#users.get(successor) === this.#users.get(next)
        next = isSameUser ? successor : undefined
      }
    }
    return dead
  }

  /** What has run out is neither answered nor extended. */
  #checkExpiry(): void {
    if (this.#history.exchanges.some(({ steps }) => steps.some((step) => step.do === 'set expiry'))) return
    const ends = new Map<string, number>()
    const opened = new Set<number | null>()
    for (const { operation, id, ok, at, touchedAt, request } of this.#history.stored) {
      const end = ends.get(id)
      const isOver = end !== undefined && at >= end
      if (operation === 'load') {
        const exchange = this.#history.exchanges.find(({ number }) => number === request)
        // The first look-up is the one that opens the session.
        const opens = exchange?.id === id && !opened.has(request)
        opened.add(request)
        if (isOver && opens && exchange.decision?.lookup === 'live')
          this.#report('risen session', `${short(id)} ran out ${at - end} ms before`, exchange)
      } else if (ok && operation === 'end') ends.delete(id)
      else if (ok) {
        if (isOver) this.#report('risen session', `${short(id)} was extended ${at - end} ms after its end`)
        const active = operation === 'touch' || touchedAt === PENDING ? at : touchedAt!
        ends.set(id, Math.max(end ?? 0, active + IDLE_MS))
      }
    }
  }

  /** What whoever asks when all is over is told is what stands in the store. */
  #checkProbes(): void {
    for (const { id, report, at } of this.#history.probes) {
      const found = this.#history.found[id]
      const isLive = found?.kind === 'live' && (found.expiresAt === null || at < found.expiresAt)
      const { user, data } = report.seen
      if (!isLive && (user !== null || Object.keys(data).length > 0))
        this.#report('risen session', `${short(id)} answers`)
      if (isLive && (user !== found.user || JSON.stringify(data) !== JSON.stringify(found.data)))
        this.#report(user === found.user ? 'lost write' : 'wrong user', `${short(id)} answers as ${user}`)
    }
  }

  /** The cookie that the browser is left with is the best it was ever given. */
  #checkCookie(browser: Browser): void {
    const { exchanges, found } = this.#history
    const delivered = exchanges
      .filter((exchange) => exchange.browser === browser && exchange.deliveredAt !== null)
      .sort((a, b) => a.deliveredAt! - b.deliveredAt!)
    const all = [
      browser.base.id,
      ...delivered.flatMap(({ answer }) => answer!.cookies).flatMap((line) => cookieIn(line)?.id ?? []),
    ]
    const living = all.filter((id) => found[id]?.kind === 'live')
    // Who signs out has the cookie cleared, whatever else they do at that moment. And what no server can mend is as documented: a
    // request that led to no session begins a new one.
    const mayLose = delivered.some(
      (exchange) =>
        exchange.decision?.outcome === 'destroyed' ||
        (exchange.decision?.cookie === 'set' && ledNowhere(exchange) && !this.#isMarked(exchange)),
    )
    if (living.length === 0 || mayLose) return
    const { kept } = browser
    if (kept === null || !living.includes(kept))
      this.#report(
        'cookie overwritten',
        `${short(living.at(-1))} lives, and the browser is left with ${short(kept)}`,
      )
    // Of two that gave new ids, the one whose answer came last counts: no server knows which that will be.
    const last = delivered.findLast(
      (exchange) => exchange.answer!.cookies.length > 0 && doneSteps(exchange).some(isNewId),
    )
    const given = last?.decision?.id
    if (given != null && found[given]?.kind === 'live' && kept !== given)
      this.#report(
        'cookie overwritten',
        `${short(given)} was given, and the browser is left with ${short(kept)}`,
        last,
      )
  }

  /** Whether a request must have found the mark of what ended a moment ago, and said that there is nothing. */
  #isMarked({ id, decision }: Exchange): boolean {
    return (
      decision?.lookup === 'missing' &&
      id !== null &&
      this.#ended.has(id) &&
      this.#history.now < this.#endOf(id)
    )
  }

  #report(kind: Violation['kind'], what: string, by?: Exchange): void {
    this.#found.push({ kind, what: by === undefined ? what : `request ${by.number}: ${what}` })
  }
}

/** Whether a request's cookie led to no session, and to none that was there a moment ago. */
function ledNowhere({ decision }: Exchange): boolean {
  return decision !== null && ['none', 'missing', 'expired'].includes(decision.lookup)
}

function isNewId(step: Step): boolean {
  return step.do === 'sign in' || step.do === 'rotate'
}

/** The steps that a handler got through. */
function doneSteps({ steps, report }: Exchange): readonly Step[] {
  return steps.slice(0, report?.done ?? 0)
}

/** Whether the handler threw before its answer began. */
function hasFailed({ report, steps }: Exchange): boolean {
  return report?.error != null && !steps.some((step) => step.do === 'head')
}

/** The deadline is counted from the moment of the call, and time may have passed since. */
function isNear(at: number | null, expected: number): boolean {
  return at !== null && Math.abs(at - expected) < 1000
}
