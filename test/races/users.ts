import type { Clock } from '../../src/clock.ts'
import type { Sessions, SessionsOptions } from '../../src/index.ts'
import { createSessions } from '../../src/index.ts'
import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { SessionStore } from '../../src/stores/store.ts'
import type { UserIndex } from '../../src/stores/user-index.ts'
import { cookieAfter, visit } from '../support/core.ts'

/** What happens to ada's sessions, each on a server process of its own. `on` is the device, of those she is signed in on at the start. */
export type Deed =
  | { readonly act: 'sign in' | 'revoke all' | 'list' | 'expire' }
  | { readonly act: Act; readonly on: number }

type Act = 'sign in again' | 'rotate' | 'write' | 'sign out' | 'revoke others' | 'revoke'

export const ACTS = ['sign in again', 'rotate', 'write', 'sign out', 'revoke others', 'revoke'] as const
export const OTHER_ACTS = ['sign in', 'revoke all', 'list', 'expire'] as const

/** The devices that ada is signed in on at the start: the first of them long ago, so that it may run out. */
export const DEVICES = 3

export type IndexedStore = SessionStore & UserIndex

export interface UsersScenario {
  readonly deeds: readonly Deed[]
  /** By which step, and where, a process dies; null where none does. */
  readonly crash: { readonly at: number; readonly deed: number } | null
  readonly limit?: SessionsOptions['maxSessionsPerUser']
}

/** What is known on a device that somebody has signed in on: the cookie, and the id of the session as it began. */
interface Device {
  readonly cookie: string
  readonly id: string
}

/** A deed, and what came of it. Steps are counted from 1. */
interface Done {
  readonly deed: Deed
  startedAt: number
  /** Infinity where no answer came. */
  answeredAt: number
  cookie: string | null
}

/**
 * Goes through one order, in which `choices` say what goes on next: a deed that has not begun, or a store call that waits.
 * @param open gives a store with nothing in it, whose time is the order's
 * @returns what was wrong in the end; nothing, where all promises were kept
 */
export async function followUsers(
  { deeds, crash, limit }: UsersScenario,
  choices: readonly number[],
  open: (clock: Clock) => IndexedStore,
): Promise<string[]> {
  const world = new World(open, limit)
  const devices: Device[] = []
  for (let i = 0; i < DEVICES; i++) {
    devices.push(await world.signIn('ada'))
    // By the end of the idle time only the first one has been idle for all of it.
    world.time += i === 0 ? (IDLE + TOUCH_EVERY) * 1000 - MARGIN : 1
  }
  const { cookie: bea } = await world.signIn('bea')

  const done: Done[] = deeds.map((deed) => ({ deed, startedAt: 0, answeredAt: Infinity, cookie: null }))
  const processes = deeds.map(() => world.process())
  let unstarted = done.map((_, i) => i)
  for (let step = 1; ; step++) {
    const moves = [...unstarted.map((i) => ({ start: i })), ...world.held.map((held) => ({ held }))]
    if (moves.length === 0) break
    if (crash !== null && crash.at === step) processes[crash.deed % deeds.length]!.die()
    const move = moves[(choices[step] ?? 0) % moves.length]!
    if ('held' in move) await move.held.go()
    else {
      const one = done[move.start]!
      const process = processes[move.start]!
      unstarted = unstarted.filter((i) => i !== move.start)
      one.startedAt = step
      const answer = (cookie: string | null): void => {
        if (process.isDead) return
        one.cookie = cookie
        one.answeredAt = world.step
      }
      void world
        .run(one.deed, process.sessions, devices)
        .then(answer, () => world.failures.push(one.deed.act))
    }
    world.step = step
    await settled()
  }
  return judge(world, { deeds, crash, limit }, done, devices, bea)
}

async function judge(
  world: World,
  { crash, limit }: UsersScenario,
  done: readonly Done[],
  devices: readonly Device[],
  bea: string,
): Promise<string[]> {
  const wrong = world.failures.map((act) => `a request failed that was to ${act}`)
  const { sessions } = world.direct
  const idBehind = async (cookie: string | null): Promise<string | null> => {
    const session = await sessions.open(cookie)
    return session.isNew || session.isEnded ? null : session.id
  }
  const did = (...acts: string[]): Done[] => done.filter(({ deed }) => acts.includes(deed.act))
  const isOn = ({ deed }: Done, device: number): boolean => 'on' in deed && deed.on === device
  // The ids that a device's first session went by.
  const chainOf = (device: number): string[] => {
    const chain: string[] = []
    for (let id: string | undefined = devices[device]!.id; id !== undefined; id = world.successors.get(id))
      chain.push(id)
    return chain
  }

  if ((await idBehind(bea)) === null) wrong.push('somebody else’s session has ended')

  // Every cookie that a browser has, the device, and when who signed in there was told of it.
  const known = devices.map(({ cookie }, device) => ({ cookie, device, since: 0 }))
  for (const { deed, cookie, answeredAt } of done)
    if (cookie !== null)
      known.push({
        cookie,
        device: 'on' in deed ? deed.on : -1,
        since: deed.act === 'rotate' ? 0 : answeredAt,
      })
  const alive: ((typeof known)[number] & { id: string })[] = []
  const ids = new Set<string>()
  for (const one of known) {
    const id = await idBehind(one.cookie)
    if (id === null) continue
    alive.push({ ...one, id })
    ids.add(id)
  }

  const listed = (await sessions.forUser('ada').list()).map(({ id }) => id)
  for (const id of ids) if (!listed.includes(id)) wrong.push('a session that somebody can use is not listed')
  if (new Set(listed).size !== listed.length) wrong.push('a session is listed twice')
  if (crash === null && listed.some((id) => !ids.has(id))) wrong.push('a session is listed that nobody has')

  for (const { deed, startedAt, answeredAt } of done) {
    if (answeredAt === Infinity) continue
    for (const { device, since, id } of alive) {
      if (since >= startedAt) continue
      if (deed.act === 'revoke all') wrong.push('a session has outlived revoke all')
      if (deed.act === 'revoke others' && 'on' in deed && deed.on !== device)
        wrong.push('a session has outlived revoke others')
      // A sign-in on what had ended began a session of its own, to which no id leads that the device was known by.
      if ((deed.act === 'revoke' || deed.act === 'sign out') && chainOf(deed.on).includes(id))
        wrong.push(`a session has outlived ${deed.act}`)
    }
  }

  const enders = did('revoke all', 'sign in again')
  for (let device = 0; device < devices.length; device++) {
    const isEnded =
      limit !== undefined ||
      crash !== null ||
      enders.length > 0 ||
      (device === 0 && did('expire').length > 0) ||
      did('sign out', 'revoke').some((one) => isOn(one, device)) ||
      did('revoke others').some((one) => !isOn(one, device)) ||
      // Of two rotations at once one wins, and the other's answer may be the last.
      did('rotate').filter((one) => isOn(one, device)).length > 1
    if (!isEnded && !alive.some((one) => one.device === device))
      wrong.push('a session has ended that nobody ended')
  }

  const max = typeof limit === 'object' ? limit.max : (limit ?? Infinity)
  // What was there before the limit was set, and no sign-in since, it leaves alone.
  const signIns = did('sign in', 'sign in again').filter(({ cookie }) => cookie !== null)
  if (crash === null && signIns.length > 0 && listed.length > Math.max(max, DEVICES))
    wrong.push('there are more sessions than the limit allows')
  if (typeof limit === 'number' && crash === null && signIns.length > 0 && listed.length > limit)
    wrong.push('there are more sessions than the limit allows')
  return wrong
}

/** Seconds. */
const IDLE = 3600
const TOUCH_EVERY = 60
/** Milliseconds that the oldest session has left at the start, and that `expire` goes past it: far below what a pending record has. */
const MARGIN = 300
/** How long a pause takes, in milliseconds: within some of them what a dead process left has run out. */
const PAUSE = 50

/** Servers, each on a store that makes every call of it wait. */
class World {
  time = Date.UTC(2026, 0, 1)
  step = 0
  held: { go(): Promise<void> }[] = []
  readonly failures: string[] = []
  /** By id, what sessions went on as under the same user. */
  readonly successors = new Map<string, string>()
  readonly direct: { readonly sessions: Sessions }
  readonly #store: IndexedStore
  readonly #limit: SessionsOptions['maxSessionsPerUser']
  readonly #clock: Clock = {
    now: () => this.time,
    monotonic: () => 0,
    // There are no deadlines here.
    sleep: (ms) => {
      if (ms >= 40) return new Promise(() => {})
      this.time += PAUSE
      return Promise.resolve()
    },
  }

  constructor(open: (clock: Clock) => IndexedStore, limit: SessionsOptions['maxSessionsPerUser']) {
    this.#store = open(this.#clock)
    this.#limit = limit
    this.direct = { sessions: this.#serve(this.#store, undefined) }
  }

  process(): { sessions: Sessions; readonly isDead: boolean; die(): void } {
    let isDead = false
    const wait = <R>(run: () => Promise<R>): Promise<R> =>
      new Promise((resolve, reject) => {
        const held = {
          go: async (): Promise<void> => {
            this.held = this.held.filter((one) => one !== held)
            if (isDead) return
            // Whoever dies meanwhile has had it carried out, and does not hear of it.
            await run().then(
              (value) => isDead || resolve(value),
              (error: unknown) => isDead || reject(error as Error),
            )
          },
        }
        this.held.push(held)
      })
    return {
      sessions: this.#serve(new WaitingStore(this.#store, wait, this.successors), this.#limit),
      get isDead() {
        return isDead
      },
      die: () => void (isDead = true),
    }
  }

  /** A sign-in on a device that has no session, which nothing stands in the way of. */
  async signIn(userId: string): Promise<Device> {
    const { cookie, session } = await visit(this.direct.sessions, null, (fresh) => fresh.signIn(userId))
    return { cookie: cookie!, id: session.id }
  }

  /** @returns the cookie that its answer sets; null where it sets none, or fails */
  async run(deed: Deed, sessions: Sessions, devices: readonly Device[]): Promise<string | null> {
    const before = 'on' in deed ? devices[deed.on]!.cookie : null
    const session = await sessions.open(before)
    const user = sessions.forUser('ada')
    switch (deed.act) {
      case 'sign in':
      case 'sign in again':
        session.signIn('ada')
        break
      case 'rotate':
        if (!session.isEnded && !session.isNew) session.rotate()
        break
      case 'write':
        if (!session.isEnded && !session.isNew) session.set('n', 1)
        break
      case 'sign out':
        await session.destroy()
        break
      case 'revoke all':
        await user.revokeAll()
        break
      case 'revoke others':
        await user.revokeOthers(session)
        break
      case 'revoke':
        await user.revoke(session.id)
        break
      case 'list':
        await user.list()
        break
      case 'expire':
        this.time += 2 * MARGIN
    }
    try {
      const after = cookieAfter(before, await sessions.commit(session))
      return after === before ? null : after
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_SESSION_LIMIT_REACHED') return null
      throw error
    }
  }

  #serve(store: SessionStore, maxSessionsPerUser: SessionsOptions['maxSessionsPerUser']): Sessions {
    const times = { clock: this.#clock, idleTimeout: IDLE, touchEvery: TOUCH_EVERY }
    return createSessions({
      store,
      ...times,
      ...(maxSessionsPerUser !== undefined && { maxSessionsPerUser }),
    })
  }
}

/** A store whose calls wait to be let go. */
class WaitingStore extends SessionStore implements UserIndex {
  override readonly atomic = true
  readonly #inner: IndexedStore
  readonly #wait: <R>(run: () => Promise<R>) => Promise<R>
  readonly #successors: Map<string, string>

  constructor(
    inner: IndexedStore,
    wait: <R>(run: () => Promise<R>) => Promise<R>,
    successors: Map<string, string>,
  ) {
    super()
    this.#inner = inner
    this.#wait = wait
    this.#successors = successors
  }

  override load = (id: string): Promise<SessionData | Mark | null> => this.#wait(() => this.#inner.load(id))
  override create = (id: string, data: SessionData, ttl: number): Promise<boolean> =>
    this.#wait(() => this.#inner.create(id, data, ttl))
  override replace = (id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> =>
    this.#wait(() => this.#inner.replace(id, data, expected, ttl))
  override end = (id: string, mark: Mark, expected?: string): Promise<boolean> =>
    this.#wait(async () => {
      const isEnded = await this.#inner.end(id, mark, expected)
      if (isEnded && mark.sameUser && mark.successor !== null) this.#successors.set(id, mark.successor)
      return isEnded
    })
  override touch = (id: string, ttl: number, expected?: string): Promise<boolean> =>
    this.#wait(() => this.#inner.touch(id, ttl, expected))
  noteUser = (userId: string, id: string, ttl: number): Promise<void> =>
    this.#wait(() => this.#inner.noteUser(userId, id, ttl))
  idsOfUser = (userId: string): Promise<readonly string[]> => this.#wait(() => this.#inner.idsOfUser(userId))
  forgetUser = (userId: string, ids: readonly string[]): Promise<void> =>
    this.#wait(() => this.#inner.forgetUser(userId, ids))
  get = (): never => this.#unasked()
  set = (): never => this.#unasked()
  delete = (): never => this.#unasked()
  exists = (): never => this.#unasked()

  #unasked(): never {
    throw new Error('The core asked for what it never uses.')
  }
}

/** By the time of the next turn of the event loop every promise callback has run that can. */
function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
