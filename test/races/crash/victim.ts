/**
 * A process that does one operation, and kills itself at one of the crossings of it: right before a store operation, right after, and, where
 * the store is another process, while its reply is on the way. It writes the name of each crossing that it gets to.
 *
 *     node victim.ts '<task>'
 */
import { writeSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { createSessions } from '../../../src/index.ts'
import type { SessionData } from '../../../src/stores/session-data.ts'
import type { Mark } from '../../../src/stores/store.ts'
import { SessionStore } from '../../../src/stores/store.ts'
import type { StoreOperation } from '../../../src/testing/faulty-store.ts'
import type { MutantName, Operation, Task } from './operations.ts'
import { OPERATIONS, STORE_TIMEOUT } from './operations.ts'

const task = JSON.parse(process.argv[2]!) as Task
const operation: Operation = OPERATIONS[task.operation]

/** Passes every operation on, over crossings at which the process may die. */
class CrossedStore extends SessionStore {
  override readonly atomic: boolean = true
  readonly #inner: SessionStore

  constructor(inner: SessionStore) {
    super()
    this.#inner = inner
  }

  get(id: string): Promise<SessionData | null> {
    return this.#cross('get', () => this.#inner.get(id))
  }

  set(id: string, data: SessionData, ttl?: number): Promise<void> {
    return this.#cross('set', () => this.#inner.set(id, data, ttl))
  }

  delete(id: string): Promise<boolean> {
    return this.#cross('delete', () => this.#inner.delete(id))
  }

  exists(id: string): Promise<boolean> {
    return this.#cross('exists', () => this.#inner.exists(id))
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#cross('load', () => this.#inner.load(id))
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.#cross('create', () => this.#inner.create(id, data, ttl))
  }

  override replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    return this.#cross('replace', () => this.#inner.replace(id, data, expected, ttl))
  }

  override end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return this.#cross('end', () => this.#inner.end(id, mark, expected))
  }

  override touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    return this.#cross('touch', () => this.#inner.touch(id, ttl, expected))
  }

  async #cross<R>(name: StoreOperation, carryOut: () => Promise<R>): Promise<R> {
    if (!isCounting) return carryOut()
    await meanwhile(name)
    crossing(`before ${name}`)
    const reply = carryOut()
    if (task.store === 'redis') {
      // The command has left by then; whether its reply is here already does not matter.
      await nextTurn()
      crossing(`during ${name}`)
    }
    const result = await reply
    crossing(`after ${name}`)
    return result
  }
}

/** Breaks the order in which things are written, in front of the crossings. */
class MutantStore extends CrossedStore {
  readonly #mutant: MutantName
  #put: (() => Promise<boolean>) | null = null

  constructor(inner: SessionStore, mutant: MutantName) {
    super(inner)
    this.#mutant = mutant
  }

  override async create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    if (this.#mutant === 'the new record of a rotation is not pending') return super.create(id, data, 3600)
    if (this.#mutant !== 'a rotation ends the old before the new is written')
      return super.create(id, data, ttl)
    this.#put = () => super.create(id, data, ttl)
    return true
  }

  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    const ended = await super.end(id, mark, expected)
    await this.#put?.()
    return ended
  }

  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    if (this.#mutant !== 'a write deletes and writes') return super.replace(id, data, expected, ttl)
    await this.delete(id)
    await this.set(id, data, ttl)
    return true
  }
}

let isCounting = false
let crossings = 0
let isOver = false

function crossing(name: string): void {
  writeSync(1, `${name}\n`)
  // To itself, a signal is delivered before kill(2) returns.
  if (crossings++ === task.dieAt) process.kill(process.pid, 'SIGKILL')
}

/** Lets another process come in between, once. */
async function meanwhile(name: StoreOperation): Promise<void> {
  if (isOver || operation.meanwhile?.before !== name) return
  isOver = true
  const session = await others.open(task.cookie)
  await operation.meanwhile.run(session)
  await others.commit(session)
}

const inner = await openStore()
const store = task.mutant === null ? new CrossedStore(inner) : new MutantStore(inner, task.mutant)
const others = createSessions({ store: inner, storeTimeout: STORE_TIMEOUT })
const sessions = createSessions({ store, storeTimeout: STORE_TIMEOUT })

const session = await sessions.open(operation.start === null ? null : task.cookie)
isCounting = true
await operation.run(session)
await sessions.commit(session)
process.exit()

/** Loads no more than it needs: hundreds of these processes are started. */
async function openStore(): Promise<SessionStore> {
  const { store, where, prefix } = task
  if (store === 'sqlite')
    return new (await import('../../../src/stores/sqlite.ts')).SqliteSessionStore({ path: where })
  const { RedisSessionStore } = await import('../../../src/stores/redis.ts')
  const { createClient } = await import('redis')
  const client = await createClient({ url: where, name: prefix }).connect()
  return new RedisSessionStore({ client, prefix })
}
