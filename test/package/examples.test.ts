import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { io } from 'socket.io-client'
import { expect, onTestFinished, test } from 'vitest'

import { connect } from '../sockets/client.ts'
import { ROOT } from './installed.ts'

/** Runs an example as a user does, on what the build has made. @returns its port */
async function run(example: string): Promise<number> {
  const child = spawn(process.execPath, [join(ROOT, 'examples', example)], {
    env: { PATH: process.env.PATH, PORT: '0', NODE_ENV: 'development' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  for await (const line of child.stdout) {
    const [, port] = /http:\/\/localhost:(\d+)/.exec(String(line)) ?? []
    if (port !== undefined) return Number(port)
  }
  throw new Error(`${example} ended before it listened: is dist/ built?`)
}

/** A visitor who has seen the page; their cookie. */
async function visit(port: number): Promise<string> {
  const response = await fetch(`http://localhost:${port}/`)
  expect(await response.text()).toContain('<output id="count">0</output>')
  return response.headers.getSetCookie()[0]!.split(';', 1)[0]!
}

async function signOut(port: number, cookie: string): Promise<void> {
  const response = await fetch(`http://localhost:${port}/sign-out`, {
    method: 'POST',
    headers: { cookie },
    redirect: 'manual',
  })
  expect(response.status).toBe(303)
}

test.each(['ws.ts', 'hono.ts'])(
  'examples/%s counts in every tab, and signs all of them out',
  async (example) => {
    const port = await run(example)
    const cookie = await visit(port)
    const [first, second] = [
      await connect(port, cookie, { path: '/live' }),
      await connect(port, cookie, { path: '/live' }),
    ]
    first.socket.send('add')
    expect([await first.next(), await second.next()]).toEqual(['1', '1'])
    second.socket.send('add')
    expect([await first.next(), await second.next()]).toEqual(['2', '2'])
    await signOut(port, cookie)
    for (const { closed } of [first, second])
      expect(await closed).toEqual({ code: 4401, reason: 'destroyed' })
  },
)

test('examples/hono.ts tells of it by server-sent events, too', async () => {
  const port = await run('hono.ts')
  const cookie = await visit(port)
  const response = await fetch(`http://localhost:${port}/events`, { headers: { cookie } })
  const tab = await connect(port, cookie, { path: '/live' })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let received = ''
  const until = async (text: string): Promise<void> => {
    while (!received.includes(text)) received += (await reader.read()).value ?? expect.fail(received)
  }
  await until(':\n\n')
  tab.socket.send('add')
  await until('event: count\ndata: 1\n\n')
  await signOut(port, cookie)
  await until('event: session-ended\ndata: destroyed\n\n')
  expect((await fetch(`http://localhost:${port}/events`, { headers: { cookie } })).status).toBe(204)
})

test('examples/socket.io.ts counts in every tab, and signs all of them out', async () => {
  const port = await run('socket.io.ts')
  const cookie = await visit(port)
  const open = () => {
    const socket = io(`http://localhost:${port}`, { forceNew: true, extraHeaders: { cookie } })
    onTestFinished(() => void socket.close())
    return socket
  }
  const [first, second] = [open(), open()]
  await Promise.all([first, second].map((socket) => once(socket as never, 'connect')))
  const told = [first, second].map((socket) => once(socket as never, 'count'))
  first.emit('add')
  expect(await Promise.all(told)).toEqual([[1], [1]])
  const ended = [first, second].map((socket) => once(socket as never, 'session-ended'))
  await signOut(port, cookie)
  expect(await Promise.all(ended)).toEqual([
    ['destroyed', 4401],
    ['destroyed', 4401],
  ])
})
