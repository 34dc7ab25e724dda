import { AsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'

import { describe, expect, test } from 'vitest'

import type { Anything } from '../test/support/core.ts'
import { arrive, dataBehind, serve, visit } from '../test/support/core.ts'
import { attach, Context, contextOf, getSession, runIn } from './context.ts'
import { Session } from './session/session.ts'
import type { Sessions } from './sessions.ts'

/** A page: opens its session, hands its context to a handler, commits what the context then holds. */
async function page<V>(
  sessions: Sessions<Anything>,
  cookie: string | null,
  handler: (context: Context<Anything>) => V,
): Promise<{ context: Context<Anything>; value: Awaited<V> }> {
  const context = new Context<Anything>({ sessions, request: 'GET /', session: await sessions.open(cookie) })
  const value = await runIn(context, () => handler(context))
  await sessions.commit(context.session)
  return { context, value }
}

describe("a context's session", () => {
  test("is the request's", async () => {
    const { sessions } = serve()
    const session = await sessions.open(null)
    const context = new Context({ sessions, request: 'GET /', session })
    expect([context.session, context.request]).toEqual([session, 'GET /'])
    expect(context.session).toBe(session)
  })

  test('is an empty one of its own, where there is no request', () => {
    const context = new Context()
    expect(context.session).toBeInstanceOf(Session)
    expect([context.session.size, context.session.isNew, context.request]).toEqual([0, true, undefined])
    expect(context.session).toBe(context.session)
    expect(new Context().session).not.toBe(context.session)
  })

  test('that nobody has opened is an error that says so', () => {
    const context = new Context({ request: 'GET /' })
    expect(() => context.session).toThrow(expect.objectContaining({ code: 'ERR_SESSION_NO_MIDDLEWARE' }))
  })

  test('can be replaced: the one that stands there at the end is committed', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const other = new Session<Anything>()
    other.data.other = 1
    const { context } = await page(sessions, cookie, (ctx) => {
      ctx.session.data.dropped = 1
      ctx.session = other
    })
    expect(context.session).toBe(other)
    expect(other).toMatchObject({ isNew: false, isModified: false })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
  })
})

describe('a callback', () => {
  test.each<[string, (callback: () => Promise<unknown>) => Promise<unknown>]>([
    ['called at once', (callback) => callback()],
    ['called by a timer', (callback) => new Promise((resolve) => setTimeout(() => resolve(callback()), 0))],
    [
      'called by an event',
      (callback) =>
        new Promise((resolve) => {
          const socket = new EventEmitter()
          socket.on('message', () => resolve(callback()))
          socket.emit('message')
        }),
    ],
  ])('%s sees what pages wrote, and pages see what it wrote', async (_, call) => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { value: callback } = await page(sessions, cookie, (ctx) => {
      ctx.session.data.page = 1
      return ctx.callback((own) => {
        own.session.update('calls', (calls = 0) => calls + 1)
        return { ...own.session.data }
      })
    })
    expect(await call(callback)).toEqual({ n: 0, page: 1, calls: 1 })
    await visit(sessions, cookie, ({ data }) => (data.later = 1))
    expect(await call(callback)).toEqual({ n: 0, page: 1, calls: 2, later: 1 })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, page: 1, calls: 2, later: 1 })
  })

  test('is handed its arguments, the request, and a context of its own', async () => {
    const { sessions } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    const callback = context.callback((own, a: number, b: string) => [own === context, own.request, a, b])
    expect(await callback(1, 'x')).toEqual([false, 'GET /', 1, 'x'])
  })

  test('reads once, and writes only what it changed', async () => {
    const { sessions, asked } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    asked()
    await context.callback(({ session }) => session.get('n'))()
    expect(asked()).toEqual(['load'])
    await context.callback(({ session }) => session.set('n', 1))()
    expect(asked()).toEqual(['load', 'replace'])
  })

  test('called many times at once loses none of the writes', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { context } = await page(sessions, cookie, () => {})
    const callback = context.callback(async ({ session }, i: number) => {
      await Promise.resolve()
      session.data[`k${i}`] = i
      session.update('n', (n) => n + 1)
    })
    await Promise.all(Array.from({ length: 20 }, (_, i) => callback(i)))
    expect(await dataBehind(sessions, cookie)).toMatchObject({ n: 20, k0: 0, k19: 19 })
  })

  test('that throws saves nothing, and its caller gets the error', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { context } = await page(sessions, cookie, () => {})
    for (const fail of [
      (own: Context<Anything>) => {
        own.session.data.a = 1
        throw new RangeError('oops')
      },
      async (own: Context<Anything>) => {
        own.session.data.a = 1
        await Promise.resolve()
        throw new RangeError('oops')
      },
    ])
      await expect(context.callback(fail)()).rejects.toThrow(new RangeError('oops'))
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
  })

  test('that the store fails gets an error', async () => {
    const { store, sessions } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    const callback = context.callback(({ session }) => session.set('a', 1))
    store.fail('replace')
    await expect(callback()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    store.fail('load')
    await expect(callback()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  })

  test('counts as activity', async () => {
    const { clock, sessions, asked } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    await clock.advance(60_000)
    asked()
    await context.callback(() => {})()
    expect(asked()).toEqual(['load', 'touch'])
  })

  test('may replace the session, by one that needs no cookie', async () => {
    const { sessions } = serve()
    const other = await arrive(sessions)
    const { context } = await page(sessions, await arrive(sessions), () => {})
    await context.callback(async (own) => {
      own.session = await sessions.open(other)
      own.session.data.a = 1
    })()
    expect(await dataBehind(sessions, other)).toEqual({ n: 0, a: 1 })
  })
})

describe('a write that could not be found again is an error, not lost', () => {
  const refused = expect.objectContaining({ code: 'ERR_SESSION_HEADERS_SENT' })

  test('in a callback of a visitor who has no session', async () => {
    const { sessions, memory, asked } = serve()
    const { context } = await page(sessions, null, (ctx) => ctx.session.id)
    await context.callback(({ session }) => {
      expect(session.get('a')).toBe(undefined)
      expect(() => session.set('a', 1)).toThrow(refused)
      expect(() => session.signIn('ada')).toThrow(refused)
    })()
    expect([memory.size, asked()]).toEqual([0, []])
  })

  test('in a callback that wants a new token for a session', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { context } = await page(sessions, cookie, () => {})
    await context.callback(({ session }) => {
      expect(() => session.rotate()).toThrow(refused)
      expect(() => session.signIn('ada')).toThrow(refused)
    })()
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
  })

  test('in a callback that puts a new session in the place of its own', async () => {
    const { sessions, memory } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    const callback = context.callback((own) => {
      own.session = new Session()
      own.session.data.a = 1
    })
    await expect(callback()).rejects.toEqual(refused)
    expect(memory.size).toBe(1)
  })

  test('and a callback leaves no record behind that no cookie leads to, cookie.always or not', async () => {
    const { sessions, memory } = serve({ cookie: { always: true } })
    const context = new Context<Anything>({ sessions, session: await sessions.open(null) })
    await context.callback(() => {})()
    expect(memory.size).toBe(0)
  })

  test('of a context that has no sessions, a callback works on its own session, in memory', async () => {
    const context = new Context<Anything>()
    await context.callback((own) => own.session.set('a', 1))()
    expect(context.session.get('a')).toBe(1)
  })

  test('a page that was new when it made its callback has been saved by the time that is called', async () => {
    const { sessions } = serve()
    const { value: callback, context } = await page(sessions, null, (ctx) => {
      ctx.session.data.a = 1
      return ctx.callback((own) => own.session.set('b', 2))
    })
    await callback()
    await context.session.reload()
    expect({ ...context.session.data }).toEqual({ a: 1, b: 2 })
  })
})

describe('the signal', () => {
  const setUp = async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const context = new Context<Anything>({
      ...server,
      request: 'GET /',
      session: await server.sessions.open(cookie),
    })
    return { ...server, cookie, context, signal: context.signal }
  }

  test('aborts at once when the session is destroyed here', async () => {
    const { context, signal } = await setUp()
    expect(signal.aborted).toBe(false)
    await context.session.destroy()
    expect([signal.aborted, context.signal]).toEqual([true, signal])
  })

  test('aborts when a commit finds that it has ended', async () => {
    const { sessions, cookie, context, signal } = await setUp()
    await visit(sessions, cookie, (session) => session.destroy())
    context.session.data.a = 1
    expect(signal.aborted).toBe(false)
    await sessions.commit(context.session)
    expect(signal.aborted).toBe(true)
  })

  test.each([
    ['lately', 0],
    ['so long ago that its mark is gone', 31_000],
  ])('aborts when a callback finds that it has ended %s, and the callback keeps nothing', async (_, ms) => {
    const { sessions, clock, cookie, context, signal, memory } = await setUp()
    await visit(sessions, cookie, (session) => session.destroy())
    await clock.advance(ms)
    await context.callback((own) => {
      expect([own.signal.aborted, signal.aborted]).toEqual([true, true])
      own.session.data.a = 1
    })()
    expect(memory.size).toBe(0)
  })

  test('aborts when a callback itself ends the session', async () => {
    const { context, signal } = await setUp()
    await context.callback((own) => own.session.destroy())()
    expect([signal.aborted, context.signal.aborted]).toEqual([true, true])
  })

  test('aborts also for who asks for it after the end was found', async () => {
    const { sessions, cookie } = await setUp()
    const context = new Context<Anything>({ sessions, session: await sessions.open(cookie) })
    await context.callback((own) => own.session.destroy())()
    expect(context.signal.aborted).toBe(true)
  })

  test('belongs to the session that stands there', async () => {
    const { context, signal, sessions } = await setUp()
    context.session = await sessions.open(await arrive(sessions))
    await context.session.destroy()
    expect(signal.aborted).toBe(true)
  })

  test('stays as it is through reads, writes and rotations', async () => {
    const { sessions, context, signal } = await setUp()
    await context.callback((own) => own.session.set('a', 1))()
    context.session.rotate()
    await sessions.commit(context.session)
    expect(signal.aborted).toBe(false)
  })
})

describe('Context.current()', () => {
  test('is undefined outside of any', () => {
    expect(Context.current()).toBe(undefined)
  })

  test('is found anywhere below a page: after awaits, in timers, in queues', async () => {
    const { sessions } = serve()
    const { context, value } = await page(sessions, null, async () => {
      const seen = [Context.current()]
      await Promise.resolve()
      seen.push(Context.current())
      await new Promise((resolve) => setTimeout(resolve, 0))
      seen.push(Context.current())
      seen.push(await new Promise((resolve) => process.nextTick(() => resolve(Context.current()))))
      return seen
    })
    expect(value).toEqual([context, context, context, context])
    expect(value.every((one) => one === context)).toBe(true)
    expect(Context.current()).toBe(undefined)
  })

  test('is the context of the callback inside one, whoever calls it', async () => {
    const { sessions } = serve()
    const { context } = await page(sessions, await arrive(sessions), () => {})
    const callback = context.callback(async (own) => {
      await Promise.resolve()
      return Context.current() === own
    })
    const elsewhere = new AsyncResource('elsewhere')
    expect(await elsewhere.runInAsyncScope(callback)).toBe(true)
    expect(await page(sessions, null, () => callback())).toMatchObject({ value: true })
  })

  test('of pages at once is each its own', async () => {
    const { sessions } = serve()
    const pages = await Promise.all(
      Array.from({ length: 5 }, () =>
        page(sessions, null, async () => {
          await new Promise((resolve) => setTimeout(resolve, 1))
          return Context.current()
        }),
      ),
    )
    expect(pages.every(({ context, value }) => context === value)).toBe(true)
  })
})

describe('getSession', () => {
  const setUp = async (request: object) => {
    const { sessions } = serve()
    const context = new Context<Anything>({ sessions, request, session: await sessions.open(null) })
    attach(request, sessions, context)
    return { sessions, context }
  }

  test("finds a request's session, and a context's", async () => {
    const request = {}
    const { context } = await setUp(request)
    expect(getSession(request)).toBe(context.session)
    expect(getSession(context)).toBe(context.session)
    expect(contextOf(request)).toBe(context)
  })

  test('finds the session that the context holds by then', async () => {
    const request = {}
    const { context } = await setUp(request)
    context.session = new Session()
    expect(getSession(request)).toBe(context.session)
  })

  test('of two managers finds the one that was asked for, or the innermost', async () => {
    const request = {}
    const outer = await setUp(request)
    const inner = await setUp(request)
    expect(getSession(request)).toBe(inner.context.session)
    expect(getSession(request, outer.sessions)).toBe(outer.context.session)
    expect(getSession(request, inner.sessions)).toBe(inner.context.session)
  })

  test('without the middleware is an error that names it', async () => {
    const request = {}
    expect(() => getSession(request)).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_NO_MIDDLEWARE',
        message: expect.stringContaining('sessionMiddleware'),
      }),
    )
    await setUp(request)
    expect(() => getSession(request, serve().sessions)).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_NO_MIDDLEWARE',
        message: expect.stringContaining('sessionMiddleware'),
      }),
    )
    expect(Object.keys(request)).toEqual([])
  })
})
