/**
 * Handlers that fail, clients that leave, answers that have begun: SECURITY.md F12, through every adapter. Each answer is completed, what was
 * promised holds, and the server lives on.
 */
import { beforeAll, describe, expect, it } from 'vitest'

import type { AdapterName } from './app-adapters.ts'
import type { App } from './app-process.ts'
import { startApp } from './app-process.ts'
import { Ledger } from './ledger.ts'

describe.each<AdapterName>(['node', 'express', 'fetch', 'hono'])('through %s', (adapter) => {
  let app: App
  let ledger: Ledger
  beforeAll(async () => {
    app = await startApp({ client: 'memory', adapter })
    ledger = new Ledger([app.port])
    return async () => {
      ledger.close()
      const { code, stderr } = await app.stop()
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    }
  })

  /** The cookie of a new visitor, who is signed in. */
  async function visitor(): Promise<string> {
    const { cookies } = await ledger.ask(0, 'POST /sign-in?user=ada', null)
    return cookies[0]!.split(';', 1)[0]!
  }

  async function read(cookie: string): Promise<unknown> {
    return JSON.parse((await ledger.ask(0, 'GET /read', cookie)).body)
  }

  /** Resolves when a handler waits to be let go on. */
  async function someoneWaits(): Promise<void> {
    while ((await app.ask({ ask: 'measures' })).waiting === 0);
  }

  /** Resolves when the server has no answer left to give. */
  async function allAreAnswered(): Promise<void> {
    while ((await app.ask({ ask: 'go' })).open > 0);
  }

  it('a handler that throws saves nothing, and keeps nobody from going on', async () => {
    const cookie = await visitor()
    const { status, cookies } = await ledger.ask(0, 'POST /throw?key=a&value=1', cookie)
    expect({ status, cookies }).toEqual({ status: 500, cookies: [] })
    expect(await read(cookie)).toEqual({ user: 'ada', data: {} })
  })

  it('a sign-out holds, though the handler throws after it', async () => {
    const cookie = await visitor()
    expect((await ledger.ask(0, 'POST /sign-out-and-throw', cookie)).status).toBe(500)
    expect(await read(cookie)).toEqual({ user: null, data: {} })
  })

  it('a client that leaves while the handler runs does no harm', async () => {
    const cookie = await visitor()
    const leaving = new AbortController()
    const answer = ledger.ask(0, 'POST /wait?key=a&value=1', cookie, leaving.signal)
    await someoneWaits()
    leaving.abort()
    expect((await answer).status).toBe(0)
    await allAreAnswered()
    const { user, data } = (await read(cookie)) as { user: string; data: object }
    // Whether it was saved is for the adapter to say; nobody was told.
    expect([{}, { a: '1' }]).toContainEqual(data)
    expect(user).toBe('ada')
  })

  it('what is done once the answer has begun is saved where it can be, or says that it cannot', async () => {
    const cookie = await visitor()
    const answer = ledger.ask(0, 'GET /late?key=a&value=1', cookie)
    await someoneWaits()
    await app.ask({ ask: 'go' })
    const { status, body, cookies } = await answer
    expect({ status, body, cookies }).toEqual({
      status: 200,
      body: 'begun, saved, ERR_SESSION_HEADERS_SENT',
      cookies: [],
    })
    expect(await read(cookie)).toEqual({ user: 'ada', data: { a: '1' } })
  })

  it('a client that leaves while the answer comes does no harm', async () => {
    const cookie = await visitor()
    const leaving = new AbortController()
    const answer = ledger.ask(0, 'GET /late?key=a&value=1', cookie, leaving.signal)
    await someoneWaits()
    leaving.abort()
    await answer
    await allAreAnswered()
    expect(await read(cookie)).toMatchObject({ user: 'ada' })
  })
})
