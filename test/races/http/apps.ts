import { once } from 'node:events'
import type { RequestListener, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'

import express from 'express'
import { Hono } from 'hono'

import { sessionMiddleware as expressMiddleware } from '../../../src/adapters/express.ts'
import { sessionMiddleware as fetchMiddleware } from '../../../src/adapters/fetch.ts'
import { sessionMiddleware as honoMiddleware } from '../../../src/adapters/hono.ts'
import { getSession, sessionMiddleware as nodeMiddleware } from '../../../src/adapters/node.ts'
import type { Session } from '../../../src/session/session.ts'
import type { Sessions } from '../../../src/sessions.ts'
import type { AdapterName } from './protocol.ts'
import { HEADERS } from './protocol.ts'

/** By a name that the compiler does not follow: the package's types ask for the DOM's. */
const { getRequestListener } = (await import('@hono/node-server' as string)) as {
  getRequestListener(fetch: (request: Request) => unknown): RequestListener
}

/** The one handler of the fixture: plays the steps that the request asks for. */
export type Play = (session: Session, steps: string) => Promise<Body>

/** What it answers: text, or pieces of it, the first of which lets the head leave. */
export type Body = string | AsyncIterable<string>

/** The same application on every adapter. An error of the handler is answered by 500, in the framework's own way. */
export const APPS: Record<AdapterName, (sessions: Sessions, play: Play) => RequestListener> = {
  node(sessions, play) {
    const withSession = nodeMiddleware(sessions)
    return (req, res) =>
      withSession(req, res, async (error) => {
        try {
          if (error !== undefined) throw error
          await send(res, await play(getSession(req, sessions), stepsOf(req.headers)))
        } catch (error) {
          res.writeHead((error as { status?: number }).status ?? 500).end()
        }
      })
  },

  express(sessions, play) {
    const app = express()
    app.use(expressMiddleware(sessions))
    app.get('/', async (req, res) => {
      await send(res, await play(getSession(req, sessions), stepsOf(req.headers)))
    })
    app.use(((error, _req, res, _next) => {
      res.status((error as { status?: number }).status ?? 500).end()
    }) satisfies express.ErrorRequestHandler)
    return app
  },

  fetch(sessions, play) {
    const handle = fetchMiddleware(sessions)(
      async (request, { session }) =>
        new Response(contentOf(await play(session, request.headers.get(HEADERS.steps)!))),
    )
    // The runtime's part: a rejection is answered by 500.
    return getRequestListener((request) => handle(request).catch(() => new Response(null, { status: 500 })))
  },

  hono(sessions, play) {
    const app = new Hono()
      .use(honoMiddleware(sessions))
      .get('/', async (c) =>
        c.body(contentOf(await play(c.var.session, c.req.header(HEADERS.steps)!)) as string),
      )
      .onError((error, c) => c.body(null, (error as { status?: 503 }).status ?? 500))
    return getRequestListener((request) => app.fetch(request))
  },
}

function stepsOf(headers: Record<string, string | string[] | undefined>): string {
  return headers[HEADERS.steps] as string
}

/** Waits for nothing between the pieces: what the handler does after the head may meet the commit still under way. */
async function send(res: ServerResponse, body: Body): Promise<void> {
  if (typeof body === 'string') {
    res.end(body)
    return
  }
  for await (const piece of body) res.write(piece)
  res.end()
  if (!res.destroyed) await Promise.race([once(res, 'finish'), once(res, 'close')])
}

function contentOf(body: Body): string | ReadableStream<Uint8Array> {
  return typeof body === 'string'
    ? body
    : (Readable.toWeb(Readable.from(body, { objectMode: false })) as ReadableStream<Uint8Array>)
}
