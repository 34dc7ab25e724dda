import { setTimeout as pause } from 'node:timers/promises'

import type { Session, SessionStore } from 'holdfast'
import { streamText } from 'hono/streaming'

import type { App, AppContext } from './app.ts'
import { LastWriteWins } from './last-write-wins.ts'
import { resultPage } from './pages.ts'
import { type AppSession, SLOTS } from './session.ts'

/** Milliseconds that the slow request works between reading the session and writing to it. */
const SLOW = 1500

/**
 * Twenty requests at once, and signing out under a slow one. The page's script sends these requests from the browser; without it,
 * the forms' own routes send them from here, with the visitor's cookie.
 */
export function addExperiments(app: App, store: SessionStore): void {
  const comparison = new LastWriteWins(store)
  let running = 0

  app.post('/parallel/begin', async (c) => {
    await begin(c.var.session)
    return c.body(null, 204)
  })

  app.post('/parallel/end', async (c) => {
    await end(c.var.session)
    return c.body(null, 204)
  })

  app.post('/parallel/:slot{[0-9]+}', async (c) => {
    const { session } = c.var
    const slot = Number(c.req.param('slot'))
    if (!SLOTS.includes(slot)) return c.notFound()
    const atOnce = ++running
    try {
      session.set(`slot${slot}`, Date.now())
      session.update('counter', (count = 0) => count + 1)
      session.update('atOnce', (most = 0) => Math.max(most, atOnce))
      // Work, so that many requests have read the session before the first of them writes.
      await comparison.add(session.id, slot, 40 + Math.random() * 80)
    } finally {
      running--
    }
    return c.body(null, 204)
  })

  app.post('/parallel', async (c) => {
    const { session } = c.var
    if (session.isNew) {
      session.flash('notice', 'There was no session yet; now there is one. Please try again.')
      return c.redirect('/#parallel', 303)
    }
    await begin(session)
    await session.save()
    await Promise.all(SLOTS.map((slot) => requestHere(c, `/parallel/${slot}`)))
    await session.reload()
    await end(session)
    return c.redirect('/#parallel', 303)
  })

  /** Answers at once that it has begun, works, and writes to the session it read before: `saved`, or `gone`. */
  app.post('/slow-write', (c) => {
    const { session } = c.var
    if (session.isNew) return c.text('There is no session.', 409)
    return streamText(c, async (stream) => {
      await stream.writeln('begun')
      await pause(SLOW)
      session.flash('notice', 'Written by a slow request.')
      await stream.writeln(await session.save())
    })
  })

  app.get('/look/:id', async (c) => {
    const { id, userId } = c.var.session
    return c.json({ id, userId, isInStore: await store.exists(c.req.param('id')) })
  })

  app.post('/sign-out-race', async (c) => {
    const { session } = c.var
    const { id, userId } = session
    const startedAt = performance.now()
    const since = (): number => performance.now() - startedAt

    const slow = await requestHere(c, '/slow-write')
    if (!slow.ok) return c.redirect('/#race', 303)
    const begun = since()
    await session.destroy()
    const signedOut = since()
    const outcome = (await slow.text()).split('\n')[1] ?? ''
    const written = since()
    const isInStore = await store.exists(id)
    return c.html(resultPage({ id, userId, begun, signedOut, outcome, written, isInStore, read: since() }))
  })

  async function begin(session: Session<AppSession>): Promise<void> {
    for (const slot of SLOTS) session.delete(`slot${slot}`)
    session.set('counter', 0)
    session.set('atOnce', 0)
    session.set('run', { startedAt: Date.now() })
    await comparison.forget(session.id)
  }

  async function end(session: Session<AppSession>): Promise<void> {
    const run = session.get('run')
    if (run === undefined) return
    run.elapsed = Date.now() - run.startedAt
    run.lastWriteWins = await comparison.read(session.id)
    await comparison.forget(session.id)
  }

  /** A POST from this server to itself, on behalf of the visitor. */
  async function requestHere(c: AppContext, path: string): Promise<Response> {
    const headers = { Cookie: c.req.header('Cookie') ?? '', 'Sec-Fetch-Site': 'same-origin' }
    return app.request(path, { method: 'POST', headers })
  }
}
