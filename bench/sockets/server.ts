/** A server of sockets, in a process of its own; its parent asks it how it fares. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { WebSocketServer } from 'ws'

import { getSession, sessionMiddleware } from '../../src/adapters/node.ts'
import { acceptSockets } from '../../src/adapters/ws.ts'
import { createSessions } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'

/** What the server tells of itself. */
export interface Fare {
  /** CPU time of the process so far, in milliseconds. */
  readonly cpu: number
  /** Bytes. */
  readonly heap: number
  readonly rss: number
  /** The most CPU time between two looks, 5 ms apart, since `watch`: how long the event loop stands still at worst, in milliseconds. */
  readonly stall: number
}

const [, , url, kind] = process.argv
const sessions = createSessions({
  store: new RedisSessionStore({ url: url! }),
  cookie: { name: 'session', secure: false },
})
const withSession = sessionMiddleware(sessions)
const server = createServer((request, response) =>
  withSession(request, response, async () => {
    const session = getSession(request)
    if (request.url === '/sign-in') session.signIn('somebody')
    if (request.url === '/sign-out') await session.destroy()
    response.end()
  }),
)
const sockets = new WebSocketServer({ noServer: true })
server.on(
  'upgrade',
  kind === 'bare'
    ? (request, socket, head) => sockets.handleUpgrade(request, socket, head, () => {})
    : acceptSockets(sessions, sockets, () => {}),
)

let stall = 0
/** By CPU time, since the wall clock counts what other processes take, too. */
function watch(): void {
  let before = process.threadCpuUsage()
  setInterval(() => {
    const { user, system } = process.threadCpuUsage(before)
    stall = Math.max(stall, (user + system) / 1000)
    before = process.threadCpuUsage()
  }, 5)
}

process.on('message', (message) => {
  if (message === 'watch') return watch()
  if (message === 'collect') globalThis.gc?.()
  const { user, system } = process.cpuUsage()
  const { heapUsed, rss } = process.memoryUsage()
  const fare: Fare = { cpu: (user + system) / 1000, heap: heapUsed, rss, stall }
  process.send!(fare)
})
server.listen(0, '127.0.0.1', () => process.send!((server.address() as AddressInfo).port))
