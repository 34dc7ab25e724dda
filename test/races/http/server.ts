/**
 * One server process of a race: the fixture on every adapter, each on a port of its own, over one store. The test steers it by IPC.
 *
 *     node --unhandled-rejections=strict server.ts <store> [where]
 */
import { subscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import type { Decision } from '../../../src/answer.ts'
import { createSessions, MemorySessionStore } from '../../../src/index.ts'
import type { Session } from '../../../src/session/session.ts'
import { RedisSessionStore } from '../../../src/stores/redis.ts'
import { SqliteSessionStore } from '../../../src/stores/sqlite.ts'
import type { SessionStore } from '../../../src/stores/store.ts'
import type { Body } from './apps.ts'
import { APPS } from './apps.ts'
import { GatedStore, Gates, OffsetClock, serving } from './gates.ts'
import { breakAnswers, MutantStore } from './mutants.ts'
import type { AdapterName, FromServer, Report, Step, StoreName, ToServer } from './protocol.ts'
import { ADAPTERS, foundOf, HEADERS } from './protocol.ts'
import { LIFETIMES } from './scenarios.ts'

const [storeName, where = ''] = process.argv.slice(2)
const gates = new Gates((message) => process.send!(message))
const clock = new OffsetClock(gates)
const mutant = new MutantStore(openStore(storeName as StoreName), clock)
const store = new GatedStore(mutant, gates, clock)
const sessions = createSessions({ store, clock, ...LIFETIMES })
breakAnswers(sessions, mutant)

subscribe('holdfast:commit', (decision) => {
  const request = serving.getStore()
  if (request !== undefined) gates.tell({ kind: 'decided', request, decision: decision as Decision })
})

process.on('message', async (message: ToServer) => {
  switch (message.kind) {
    case 'go':
      return gates.go(message.points)
    case 'gate':
      gates.gating = message.gating
      mutant.name = message.mutant
      return
    case 'time':
      clock.time = message.now
      return
    case 'settle':
      await gates.settle(message.requests)
      return tell({ kind: 'settled' })
    case 'look': {
      const found = await Promise.all(
        message.ids.map(async (id) => [id, foundOf(await mutant.inner.load(id))]),
      )
      return tell({ kind: 'looked', found: Object.fromEntries(found) })
    }
  }
})
process.on('disconnect', () => process.exit())

const ports = await Promise.all(ADAPTERS.map(async (adapter) => [adapter, await listen(adapter)]))
tell({ kind: 'ready', ports: Object.fromEntries(ports) as Record<AdapterName, number> })

function openStore(name: StoreName): SessionStore {
  switch (name) {
    case 'memory':
      return new MemorySessionStore({ clock })
    case 'sqlite':
      return new SqliteSessionStore({ clock, path: where })
    case 'redis':
      return new RedisSessionStore({ clock, url: where })
  }
}

function listen(adapter: AdapterName): Promise<number> {
  const app = APPS[adapter](sessions, play)
  const server = createServer((req, res) => {
    const request = Number(req.headers[HEADERS.request])
    gates.tell({ kind: 'seen', request })
    res.once('close', () => gates.tell({ kind: 'over', request }))
    serving.run(request, () => app(req, res))
  })
  // The test holds requests for as long as it likes.
  Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

/** Plays a request's steps on its session, and answers with what came of it. */
async function play(session: Session, text: string): Promise<Body> {
  const steps = JSON.parse(text) as Step[]
  const report: Report & { saves: Report['saves'][number][]; done: number; error: string | null } = {
    request: serving.getStore()!,
    seen: { user: session.userId, data: Object.fromEntries(session) },
    saves: [],
    done: 0,
    error: null,
  }
  const perform = async (some: readonly Step[]): Promise<string> => {
    try {
      for (const step of some) {
        const saved = await take(session, step)
        if (saved !== undefined) report.saves.push({ outcome: saved, id: session.id })
        report.done++
      }
    } catch (error) {
      report.error = (error as { code?: string }).code ?? (error as Error).message
      throw error
    } finally {
      gates.tell({ kind: 'reported', report })
    }
    return JSON.stringify(report)
  }

  const head = steps.findIndex((step) => step.do === 'head')
  if (head === -1) return perform(steps)
  await perform(steps.slice(0, head + 1))
  return (async function* () {
    yield '\n'
    // Its head has left: an error cannot become a 500 any more, and is in the report.
    yield await perform(steps.slice(head + 1)).catch(() => JSON.stringify(report))
  })()
}

async function take(session: Session, step: Step): Promise<string | undefined> {
  switch (step.do) {
    case 'set':
      session.set(step.key, step.value)
      return
    case 'update':
      session.update(step.key, (n) => ((n as number | undefined) ?? 0) + 1)
      return
    case 'sign in':
      session.signIn(step.user)
      return
    case 'set expiry':
      session.setExpiry(step.seconds)
      return
    case 'rotate':
      session.rotate()
      return
    case 'destroy':
      await session.destroy()
      return
    case 'save':
      return session.save()
    case 'pause':
      await gates.pass('handler')
      return
    case 'throw':
      throw new Error('thrown by the handler')
  }
}

function tell(message: FromServer): void {
  process.send!(message)
}
