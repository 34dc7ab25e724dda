import type { Answer, Ledger } from './ledger.ts'

/** Whole numbers from 0 to below `n`. */
export type Random = (n: number) => number

/**
 * A browser that reads and writes its session, signs in and out, on all servers and on several at once; and a witness, who holds every
 * answer against what earlier ones have promised.
 *
 * An answer of 200 is a promise. Any other promises nothing: what was asked for may have been done, or not.
 */
export class Visitor {
  readonly name: string
  /** Cookies of sessions that are over. */
  readonly graves: string[] = []
  readonly #ledger: Ledger
  readonly #random: Random
  #cookie: string | null = null
  /** What the session must hold. */
  #promises: Promises = new Promises()

  constructor(name: string, ledger: Ledger, random: Random) {
    this.name = name
    this.#ledger = ledger
    this.#random = random
  }

  /** Goes on until told to stop; what was begun is carried through. */
  async live(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#cookie === null) await this.#arrive()
      else if (this.#random(12) === 0) await this.#signIn()
      else if (this.#random(25) === 0) await this.#signOut(signal)
      else await this.#browse()
    }
  }

  /** Looks on every server whether all promises are kept. */
  async audit(): Promise<void> {
    for (let server = 0; server < this.#ledger.servers; server++) {
      if (this.#cookie !== null) this.#check(await this.#ask('GET /read', server), this.#promises.made())
      for (const cookie of this.graves.slice(-GRAVES)) await this.#mourn(server, cookie)
    }
  }

  /** The first visit. */
  async #arrive(): Promise<void> {
    this.#promises = new Promises()
    const answer = await this.#ask(`POST /set?key=owner&value=${this.name}`)
    if (answer.status !== 200) return
    this.#cookie = cookieIn(answer)
    if (this.#cookie === null) this.#ledger.accuse('lost', `${answer.what} gave no cookie`)
  }

  /** One to four requests at once that read and write. */
  async #browse(): Promise<void> {
    const promises = this.#promises
    await Promise.all(
      Array.from({ length: 1 + this.#random(4) }, async (_, lane) => {
        const before = promises.made()
        const kind = this.#random(3)
        let answer: Answer
        if (kind === 0) answer = await this.#ask('GET /read')
        else if (kind === 1) {
          const attempt = promises.attempt('count')
          answer = await this.#ask('POST /update?key=count')
          if (answer.status === 200) promises.keep('count', attempt)
        } else {
          // Each lane has its key, so that of two writes of one key it is known which is the later.
          const key = `lane${lane}`
          const value = promises.attempt(key)
          answer = await this.#ask(`POST /set?key=${key}&value=${value}`)
          if (answer.status === 200) promises.keep(key, value)
        }
        this.#check(answer, before)
        this.#expectNoCookie(answer)
      }),
    )
  }

  /** A sign-in, with a slow read and a slow write beside it that still carry the old cookie. */
  async #signIn(): Promise<void> {
    const before = this.#cookie!
    const promises = this.#promises
    const lane = 'lane9'
    const value = promises.attempt(lane)
    const [answer, ...late] = await Promise.all([
      this.#ask(`POST /sign-in?user=${this.name}`),
      this.#ask('GET /read'),
      this.#ask(`POST /set?key=${lane}&value=${value}`),
    ])
    for (const one of late) {
      this.#expectOwn(one)
      this.#expectNoCookie(one)
    }
    if (answer.status !== 200) return this.#leave()
    this.#cookie = cookieIn(answer)
    if (this.#cookie === null) return this.#ledger.accuse('lost', `${answer.what} gave no cookie`)
    this.graves.push(before)
    await this.#mourn(this.#random(this.#ledger.servers), before)
  }

  /** A sign-out, with a slow read and a slow write beside it; repeated until it is confirmed. */
  async #signOut(signal: AbortSignal): Promise<void> {
    const cookie = this.#cookie!
    const [first, ...late] = await Promise.all([
      this.#ask('POST /sign-out'),
      this.#ask('GET /read'),
      this.#ask('POST /set?key=lane9&value=1'),
    ])
    for (const one of late) {
      this.#expectOwn(one)
      this.#expectNoCookie(one)
    }
    let { status } = first
    while (status !== 200 && !signal.aborted) status = (await this.#ask('POST /sign-out')).status
    if (status === 200) {
      this.graves.push(cookie)
      for (let server = 0; server < this.#ledger.servers; server++) await this.#mourn(server, cookie)
    }
    this.#leave()
  }

  /** Goes without the session from now on: what it holds is not known. */
  #leave(): void {
    this.#cookie = null
  }

  #ask(what: string, server: number = this.#random(this.#ledger.servers)): Promise<Answer> {
    return this.#ledger.ask(server, what, this.#cookie)
  }

  /** A session that is over must stay so. */
  async #mourn(server: number, cookie: string): Promise<void> {
    const answer = await this.#ledger.ask(server, 'GET /read', cookie)
    if (answer.status !== 200) return
    const { user, data } = viewIn(answer)
    if (user !== null || Object.keys(data).length > 0)
      this.#ledger.accuse('undone', `${this.name}: ${answer.body}`)
    this.#expectNoCookie(answer)
  }

  /** @param before what had been promised when the request was sent */
  #check(answer: Answer, before: ReadonlyMap<string, number>): void {
    if (answer.status !== 200) return
    const { data } = this.#expectOwn(answer)
    const report = `${this.name}, ${answer.what} on server ${answer.server}: ${answer.body}`
    if (data.owner === undefined) {
      this.#ledger.accuse('lost', report)
      return this.#leave()
    }
    for (const [key, least] of before)
      if (Number(data[key] ?? 0) < least) this.#ledger.accuse('lost', `${report}, ${key} < ${least}`)
    for (const [key, most] of this.#promises.most())
      if (Number(data[key] ?? 0) > most) this.#ledger.accuse('made twice', `${report}, ${key} > ${most}`)
  }

  #expectOwn(answer: Answer): View {
    if (answer.status !== 200) return { user: null, data: {} }
    const view = viewIn(answer)
    const strangers = [view.user, view.data.owner].filter((name) => name != null && name !== this.name)
    if (strangers.length > 0) this.#ledger.accuse('wrong user', `${this.name}: ${answer.body}`)
    return view
  }

  #expectNoCookie({ cookies, what }: Answer): void {
    if (cookies.length > 0) this.#ledger.accuse('overwritten', `${what}: ${cookies.join(', ')}`)
  }
}

/** What is known of the values under a session's keys, which only grow: a counter, and numbers that are set one after the other. */
class Promises {
  readonly #least = new Map<string, number>()
  readonly #most = new Map<string, number>()

  /** What has been promised, as of now. */
  made(): ReadonlyMap<string, number> {
    return new Map(this.#least)
  }

  /** What may be there at most. */
  most(): ReadonlyMap<string, number> {
    return this.#most
  }

  /** Something is about to be asked for. @returns the value that `key` may have then */
  attempt(key: string): number {
    const value = (this.#most.get(key) ?? 0) + 1
    this.#most.set(key, value)
    return value
  }

  /** An attempt was acknowledged. */
  keep(key: string, value: number): void {
    // Of the counter, each attempt adds one; of the others, each is the value.
    if (key === 'count') this.#least.set(key, (this.#least.get(key) ?? 0) + 1)
    else this.#least.set(key, Math.max(this.#least.get(key) ?? 0, value))
  }
}

interface View {
  readonly user: string | null
  readonly data: Readonly<Record<string, string | number>>
}

function viewIn(answer: Answer): View {
  return JSON.parse(answer.body) as View
}

function cookieIn({ cookies }: Answer): string | null {
  const line = cookies.find((cookie) => cookie.startsWith('__Host-session='))
  return line === undefined || line.includes('Max-Age=0') ? null : line.slice(0, line.indexOf(';'))
}

/** How many of a visitor's dead sessions are looked at in the end. */
const GRAVES = 5
