/**
 * The server that is harmed: a program of its own, to be run under `--unhandled-rejections=strict`. Its options are in argv, and the test
 * speaks with it over IPC.
 */
import { shiftClock } from './shifted-clock.ts'

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Session, SessionsOptions } from '../../src/index.ts'
import { createSessions, MemorySessionStore, SessionData } from '../../src/index.ts'
import type { RedisDurability } from '../../src/stores/redis.ts'
import type { AdapterName } from './app-adapters.ts'
import { appOn } from './app-adapters.ts'
import type { ClientName } from './app-stores.ts'
import { openStore } from './app-stores.ts'
import type { Mutant } from './mutants.ts'
import { MutantStore } from './mutants.ts'

/** How the server is to be. */
export interface AppOptions {
  readonly client: ClientName
  /** Redis's; of a Cluster its nodes', of Sentinel the Sentinels'. */
  readonly port?: number | readonly number[]
  readonly adapter?: AdapterName
  /** Milliseconds by which the clock is wrong. */
  readonly shift?: number
  readonly sessions?: SessionsOptions
  /** What is asked of Redis's replicas. */
  readonly durability?: RedisDurability
  /** What is broken on purpose. */
  readonly mutant?: Mutant
}

/** What the test asks; every question is answered by {@link Measures}. */
export type Question =
  | { readonly ask: 'measures' }
  /** Sets the clock. */
  | { readonly ask: 'shift'; readonly ms: number }
  /** Lets the handlers that wait go on. */
  | { readonly ask: 'go' }
  /** Fills the memory store. */
  | { readonly ask: 'fill'; readonly live: number; readonly expired: number }
  /** Cleans the memory store up. */
  | { readonly ask: 'sweep' }

/** How the server is. */
export interface Measures {
  /** Bytes in use after a garbage collection. */
  readonly heap: number
  /** How many sessions the memory store holds. */
  readonly records: number
  /** Answers that have not ended. */
  readonly open: number
  /** Handlers that wait to be let go on. */
  readonly waiting: number
  /** Commands that a client handed in has taken and not settled. */
  readonly unsettled: number
  /** The longest that the event loop stood still since this was last asked, in milliseconds. */
  readonly stood: number
  /** CPU time of the longest slice of the last sweep, in milliseconds. */
  readonly slice: number
}

const {
  client,
  port = 0,
  adapter = 'node',
  shift = 0,
  durability,
  mutant,
  ...rest
} = JSON.parse(process.argv[2]!) as AppOptions
shiftClock(shift)
const { store, unsettled, disconnect } = await openStore(client, [port].flat(), durability)
const sessions = createSessions({
  store: mutant === undefined ? store : new MutantStore(store, mutant),
  ...rest.sessions,
  ...(mutant === 'nothing has a deadline' && { storeTimeout: 10 }),
})

const open = new Set<ServerResponse>()
let isStopping = false
let slice = 0
const waiting = new Set<() => void>()
const app = await appOn(adapter, sessions, act)
const server = createServer((req, res) => {
  open.add(res)
  res.once('close', () => open.delete(res))
  res.shouldKeepAlive &&= !isStopping
  if (mutant === 'errors clear the cookie') clearOnError(res)
  if (mutant === 'caches are told nothing') leaveCachesAlone(res)
  app(req, res)
})

process.once('SIGTERM', () => {
  // The last requests are answered, on connections that then end; the last commits carried; and then nothing keeps the process alive.
  isStopping = true
  for (const res of open) res.shouldKeepAlive = false
  server.close(() => void sessions.close().then(disconnect))
})
process.once('disconnect', () => process.exit())
const lag = monitorEventLoopDelay({ resolution: 5 })
lag.enable()
process.on('message', (question: Question) => void hear(question))
// The channel to the test is no reason to live on.
process.channel!.unref()
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.send!({ listening: (server.address() as AddressInfo).port })

/** Does to the session what is asked, and answers what it then holds. */
async function act(session: Session, url: URL): Promise<string | AsyncIterable<string>> {
  const query = (name: string): string => url.searchParams.get(name) ?? ''
  switch (url.pathname) {
    case '/plain':
      return 'for everybody'
    case '/read':
      break
    case '/set':
      session.set(query('key'), query('value'))
      break
    case '/update':
      session.update(query('key'), (n) => Number(n ?? 0) + 1)
      break
    case '/sign-in':
      session.signIn(query('user'))
      break
    case '/list':
      return JSON.stringify((await sessions.forUser(session.userId!).list()).map(({ id }) => id))
    case '/sign-out':
      await session.destroy()
      break
    case '/throw':
      session.set(query('key'), query('value'))
      throw new Error('thrown on purpose')
    case '/sign-out-and-throw':
      await session.destroy()
      throw new Error('thrown on purpose')
    case '/wait':
      session.set(query('key'), query('value'))
      await new Promise<void>((resolve) => waiting.add(resolve))
      break
    case '/late':
      return late(session, query('key'), query('value'))
    default:
      throw new Error(`There is no ${url.pathname}.`)
  }
  return JSON.stringify({ user: session.userId, data: Object.fromEntries(session.entries()) })
}

/** Goes on once the answer has begun: what can do without a cookie is saved, what cannot says so. */
async function* late(session: Session, key: string, value: string): AsyncGenerator<string> {
  yield 'begun, '
  // The head leaves with the first piece, once the session is committed.
  await new Promise<void>((resolve) => waiting.add(resolve))
  session.set(key, value)
  yield `${await session.save()}, `
  try {
    session.signIn('nobody')
    yield 'signed in'
  } catch (error) {
    yield (error as { code?: string }).code ?? String(error)
  }
}

function clearOnError(res: ServerResponse): void {
  const { writeHead } = res
  res.writeHead = ((status: number, headers?: Record<string, string>) => {
    if (status === 503) res.appendHeader('Set-Cookie', '__Host-session=; Max-Age=0; Path=/; Secure')
    return writeHead.call(res, status, headers)
  }) as typeof writeHead
}

function leaveCachesAlone(res: ServerResponse): void {
  const { setHeader } = res
  res.setHeader = (name, value) =>
    /^(?:vary|cache-control)$/i.test(name) ? res : setHeader.call(res, name, value)
}

async function hear(question: Question): Promise<void> {
  switch (question.ask) {
    case 'shift':
      shiftClock(question.ms)
      break
    case 'go':
      for (const go of waiting) go()
      waiting.clear()
      break
    case 'fill':
      await fill(question.live, 3600)
      await fill(question.expired, 0.001)
      break
    case 'sweep':
      await sweep()
  }
  globalThis.gc?.()
  const records = store instanceof MemorySessionStore ? store.size : 0
  const heap = process.memoryUsage().heapUsed
  const stood = lag.max / 1e6
  lag.reset()
  process.send!({
    heap,
    records,
    open: open.size,
    waiting: waiting.size,
    unsettled: unsettled(),
    stood,
    slice,
  } satisfies Measures)
}

async function fill(count: number, ttl: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    const data = new SessionData({ version: 'v', data: '{"theme":"dark","cart":[1,2,3]}' })
    await store.set(data.id, data, ttl)
    if (n % 1000 === 0) await nextTurn()
  }
}

/**
 * Sweeps, and notes the longest slice: by the CPU time of this process, which other processes cannot lengthen. Of a thread alone, Linux tells
 * it in steps of 4 ms.
 */
async function sweep(): Promise<void> {
  let done = false
  slice = 0
  let before = process.cpuUsage()
  // The first slice is done at once.
  void store.clearExpired().then(() => {
    done = true
  })
  while (!done) {
    await nextTurn()
    const { user, system } = process.cpuUsage(before)
    before = process.cpuUsage()
    slice = Math.max(slice, (user + system) / 1000)
  }
}
