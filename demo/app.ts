import { readFileSync } from 'node:fs'

import { MemorySessionStore, type Sessions, type SessionStore } from 'holdfast'
import { sessionMiddleware, type SessionVariables } from 'holdfast/hono'
import { type Context, Hono } from 'hono'
import { csrf } from 'hono/csrf'
import { secureHeaders } from 'hono/secure-headers'

import { DecisionLog } from './decision-log.ts'
import { addDevices } from './devices.ts'
import { addExperiments } from './experiments.ts'
import { goodOf } from './goods.ts'
import { addLive } from './live.ts'
import { homePage, quietPage } from './pages.ts'
import type { AppSession } from './session.ts'

export type App = Hono<{ Variables: SessionVariables<AppSession> }>
export type AppContext = Context<{ Variables: SessionVariables<AppSession> }>

/** The demo's routes. Every change is a POST that is answered with a redirect, so reloading never repeats it. */
export function createApp(sessions: Sessions<AppSession>, store: SessionStore, storeName: string): App {
  const log = new DecisionLog()
  const app: App = new Hono()

  app.use(secureHeaders(HEADERS))
  // SameSite=Lax keeps the cookie out of other sites' POSTs; this turns them away as well, by Sec-Fetch-Site or Origin.
  app.use(csrf())

  // Before the middleware, so that no session is read for them.
  for (const [path, type] of FILES) {
    const body = readFileSync(new URL(`public${path}`, import.meta.url), 'utf8')
    app.get(path, (c) => c.body(body, 200, { 'Content-Type': type, 'Cache-Control': 'no-cache' }))
  }

  app.use(sessionMiddleware(sessions))

  const home = (c: AppContext, notice?: string): Response | Promise<Response> => {
    const { session } = c.var
    const ended = c.req.query('ended') ?? ''
    const entries = [...log.of(session.id), ...log.of(ended)]
    const isDurable = !(store instanceof MemorySessionStore)
    return c.html(
      homePage({ session, notice, storeName, isDurable, entries, hasSignedOut: log.of(ended).length > 0 }),
    )
  }

  app.get('/', (c) => {
    c.var.session.update('visits', (visits = 0) => visits + 1)
    return home(c, c.var.session.get('notice'))
  })

  // The page as it stands, counting no visit and taking no message from the page that it is for: what client.js puts in place.
  app.get('/now', (c) => home(c))

  app.get('/quiet', (c) => c.html(quietPage(c.var.session)))

  app.post('/sign-in', async (c) => {
    const { session } = c.var
    const name = await field(c, 'name')
    if (name === '') session.flash('notice', 'Whom shall I greet? Please give a name.')
    else {
      session.signIn(name)
      session.flash('notice', `Welcome, ${name}. Your session has a new token and a new id.`)
    }
    return c.redirect('/#sign-in', 303)
  })

  app.post('/sign-out', async (c) => {
    const { session } = c.var
    const { id } = session
    await session.destroy()
    return c.redirect(`/?ended=${id}`, 303)
  })

  app.post('/cart/add', async (c) => {
    const { session } = c.var
    const sku = await field(c, 'sku')
    if (goodOf(sku) === undefined) return c.notFound()
    const cart = (session.data.cart ??= [])
    const line = cart.find((line) => line.sku === sku)
    if (line) line.quantity++
    else cart.push({ sku, quantity: 1 })
    return c.redirect('/#cart', 303)
  })

  app.post('/cart/take', async (c) => {
    const { session } = c.var
    const sku = await field(c, 'sku')
    const line = session.get('cart')?.find((line) => line.sku === sku)
    if (line && line.quantity > 1) line.quantity--
    return c.redirect('/#cart', 303)
  })

  app.post('/cart/remove', async (c) => {
    const { session } = c.var
    const sku = await field(c, 'sku')
    const cart = session.get('cart')
    const index = cart?.findIndex((line) => line.sku === sku) ?? -1
    if (index >= 0) cart?.splice(index, 1)
    return c.redirect('/#cart', 303)
  })

  app.post('/note', async (c) => {
    const { session } = c.var
    const note = await field(c, 'note')
    if (note !== '') session.flash('notice', note)
    return c.redirect('/#note', 303)
  })

  addDevices(app, sessions)
  addLive(app, sessions, store)
  addExperiments(app, store)
  return app
}

/** A field of the form, without the space around it, and no longer than its input allows. */
async function field(c: AppContext, name: string): Promise<string> {
  const value = (await c.req.parseBody())[name]
  return typeof value === 'string' ? value.trim().slice(0, 80) : ''
}

const FILES = [
  ['/style.css', 'text/css; charset=utf-8'],
  ['/client.js', 'text/javascript; charset=utf-8'],
  ['/favicon.svg', 'image/svg+xml'],
] as const

const HEADERS = {
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    connectSrc: ["'self'"],
    formAction: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
  },
  // Under no-referrer, the default, browsers would send `Origin: null` with the forms.
  referrerPolicy: 'same-origin' as const,
  // These need https, and over plain http browsers complain of them.
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
}
