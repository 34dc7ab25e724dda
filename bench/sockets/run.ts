/**
 * What open sockets cost, and how soon they close: `node bench/sockets/run.ts [seconds of idleness]` after `npm ci`. Starts redis-server and two
 * servers, prints a table in Markdown.
 */
import type { ChildProcess } from 'node:child_process'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import { createClient } from 'redis'
import { WebSocket } from 'ws'

import type { Fare } from './server.ts'

const IDLE = Number(process.argv[2] ?? 60)
const REDIS_PORT = 7399

interface Server {
  readonly port: number
  /** @param collects garbage first */
  fare(collects?: boolean): Promise<Fare>
  watch(): void
  end(): void
}

async function start(kind: 'holdfast' | 'bare' = 'holdfast'): Promise<Server> {
  const child: ChildProcess = fork(join(import.meta.dirname, 'server.ts'), [url, kind], {
    execArgv: ['--expose-gc'],
  })
  const [port] = (await once(child, 'message')) as [number]
  return {
    port,
    async fare(collects = false) {
      child.send(collects ? 'collect' : 'look')
      return ((await once(child, 'message')) as [Fare])[0]
    },
    watch: () => void child.send('watch'),
    end: () => void child.kill(),
  }
}

async function signIn({ port }: Server): Promise<string> {
  const response = await fetch(`http://localhost:${port}/sign-in`)
  return response.headers.getSetCookie()[0]!.split(';', 1)[0]!
}

/** Opens sockets, so many for each cookie, in handfuls. */
async function open({ port }: Server, cookies: readonly string[], each: number): Promise<WebSocket[]> {
  const sockets: WebSocket[] = []
  for (const cookie of cookies.flatMap((cookie) => Array.from({ length: each }, () => cookie))) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, {
      headers: { cookie },
      origin: `http://127.0.0.1:${port}`,
      perMessageDeflate: false,
    })
    sockets.push(socket)
    if (sockets.length % 100 === 0) await once(socket, 'open')
  }
  await Promise.all(sockets.map((socket) => socket.readyState === 1 || once(socket, 'open')))
  return sockets
}

async function commands(): Promise<number> {
  const info = await redis.info('commandstats')
  // What scripts run is not sent by anybody.
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1] ?? 0)
}

const child = spawn('redis-server', ['--port', String(REDIS_PORT), '--bind', '127.0.0.1', '--save', ''], {
  stdio: 'ignore',
})
const url = `redis://127.0.0.1:${REDIS_PORT}`
// Tries until the server is there.
const redis = createClient({ url }).on('error', () => {})
await redis.connect()
const rows: [string, string][] = []

// A sign-out on one server, sockets on both.
{
  const servers = [await start(), await start()] as const
  const cookies = await Promise.all(Array.from({ length: 100 }, () => signIn(servers[0])))
  const sockets = (await Promise.all(servers.map((server) => open(server, cookies, 10)))).flat()
  const times: number[] = []
  for (let i = 0; i < 100; i++) {
    const closed = [0, 1].flatMap((server) =>
      Array.from({ length: 10 }, (_, j) => once(sockets[server * 1000 + i * 10 + j]!, 'close')),
    )
    const begun = performance.now()
    await fetch(`http://localhost:${servers[i % 2]!.port}/sign-out`, { headers: { cookie: cookies[i]! } })
    await Promise.all(closed)
    times.push(performance.now() - begun)
  }
  times.sort((a, b) => a - b)
  rows.push([
    'from a sign-out being asked for to all 20 sockets of its session closed, 10 on each of 2 servers with 1,000 sockets of 100 sessions each',
    `median ${times[50]!.toFixed(1)} ms, slowest of 100 ${times.at(-1)!.toFixed(1)} ms`,
  ])
  for (const server of servers) server.end()
}

// Many sockets that do nothing.
for (const [count, sessions] of [
  [1000, 100],
  [10_000, 10_000],
] as const) {
  const memory: Record<string, number> = {}
  for (const kind of ['bare', 'holdfast'] as const) {
    const server = await start(kind)
    const cookies: string[] = []
    for (let i = 0; i < sessions; i += 50)
      cookies.push(
        ...(await Promise.all(Array.from({ length: Math.min(50, sessions - i) }, () => signIn(server)))),
      )
    await pause(1000)
    const before = await server.fare(true)
    const sockets = await open(server, cookies, count / sessions)
    await pause(2000)
    const opened = await server.fare(true)
    memory[kind] = (opened.heap - before.heap) / count
    if (kind === 'holdfast') {
      const [idle, asked] = [await server.fare(), await commands()]
      await pause(IDLE * 1000)
      const [later, askedLater] = [await server.fare(), await commands()]
      server.watch()
      await pause(31_000)
      const { stall } = await server.fare()
      const minutes = IDLE / 60
      const name = `${count.toLocaleString('en')} idle sockets of ${sessions.toLocaleString('en')} sessions, one process`
      rows.push(
        [`${name}: CPU`, `${((later.cpu - idle.cpu) / (IDLE * 10)).toFixed(2)} % of a core`],
        [`${name}: Redis commands`, `${Math.round((askedLater - asked) / minutes)} a minute`],
        [`${name}: longest stall of the event loop`, `${stall.toFixed(1)} ms`],
        [
          `${name}: heap a socket, above that of a bare one of ws (${Math.round(memory.bare!)} B)`,
          `${Math.round(memory.holdfast! - memory.bare!)} B`,
        ],
      )
    }
    for (const socket of sockets) socket.terminate()
    server.end()
    await pause(500)
  }
}

redis.destroy()
child.kill()
console.log('| what | how much |\n| --- | --- |')
for (const row of rows) console.log(`| ${row.join(' | ')} |`)
