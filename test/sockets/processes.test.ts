import type { ChildProcessByStdio } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'

import { eventually } from '../support/eventually.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { connect } from './client.ts'

let redis: RedisServer

beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

/** A server process. */
interface Server {
  readonly port: number
  readonly child: ChildProcessByStdio<Writable, Readable, null>
}

async function start(): Promise<Server> {
  const child = spawn(
    process.execPath,
    ['--unhandled-rejections=strict', join(import.meta.dirname, 'server.ts'), redis.url],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return { port: Number(String(port)), child }
}

/** Asks for a page; the cookie that the browser has then. */
async function page(server: Server, path: string, cookie = ''): Promise<string> {
  const { headers } = await ask(server, path, cookie)
  return headers.getSetCookie()[0]?.split(';', 1)[0] ?? cookie
}

async function ask({ port }: Server, path: string, cookie: string): Promise<Response> {
  const response = await fetch(`http://localhost:${port}${path}`, { headers: { cookie } })
  expect(response.status).toBe(200)
  return response
}

test('a sign-out on one server closes all hundred sockets of that session on the other within a second, and no more', async () => {
  const [first, second] = [await start(), await start()]
  const stays = await connect(second.port, await page(first, '/sign-in'))
  // It takes milliseconds; as the machine may be busy, one round of three has to stay below a second.
  let took = Infinity
  for (let round = 0; round < 3 && took >= 1000; round++) {
    const cookie = await page(first, '/sign-in')
    const clients = await Promise.all(Array.from({ length: 100 }, () => connect(second.port, cookie)))
    const signedOut = performance.now()
    await page(first, '/sign-out', cookie)
    const closed = await Promise.all(clients.map((client) => client.closed))
    took = performance.now() - signedOut
    expect(new Set(closed.map(({ code, reason }) => `${code} ${reason}`))).toEqual(
      new Set(['4401 destroyed']),
    )
    expect(stays.socket.readyState).toBe(1)
  }
  expect(took).toBeLessThan(1000)
})

test('writes by sockets and pages of two servers all count, and the others are told', async () => {
  const [first, second] = [await start(), await start()]
  const cookie = await page(first, '/sign-in')
  const [a, b] = [await connect(first.port, cookie), await connect(second.port, cookie)]
  for (let i = 0; i < 10; i++) {
    a.socket.send('')
    b.socket.send('')
    await page(i % 2 === 0 ? first : second, '/count', cookie)
  }
  await eventually(async () => expect(await (await ask(first, '/', cookie)).json()).toEqual({ count: 30 }))
  // A socket is not told of its own writes, so that the last one must be neither's.
  await page(second, '/count', cookie)
  for (const client of [a, b]) {
    let told = ''
    while (told !== '31') told = await client.next()
  }
})

test('a server that had sockets ends by itself once it is closed', async () => {
  const server = await start()
  const cookie = await page(server, '/sign-in')
  const { closed } = await connect(server.port, cookie)
  const ended = once(server.child, 'exit')
  server.child.stdin.write('close\n')
  expect((await closed).code).toBe(1006)
  expect(await ended).toEqual([0, null])
})
