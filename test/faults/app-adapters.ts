import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'

import type { Session, Sessions } from '../../src/index.ts'

export type AdapterName = 'node' | 'express' | 'fetch' | 'hono'

/** The one handler, written for all of them: text, or pieces of it, the first of which lets the head leave. */
export type Act = (session: Session, url: URL) => Promise<string | AsyncIterable<string>>

/** The application on one adapter. An error is answered with the status and the headers that it brings. */
export async function appOn(name: AdapterName, sessions: Sessions, act: Act): Promise<RequestListener> {
  switch (name) {
    case 'node': {
      const { getSession, sessionMiddleware } = await import('../../src/adapters/node.ts')
      const withSession = sessionMiddleware(sessions)
      return (req, res) =>
        withSession(req, res, async (error) => {
          try {
            if (error !== undefined) throw error
            await send(res, await act(getSession(req, sessions), urlOf(req)))
          } catch (error) {
            if (res.headersSent) return res.destroy()
            const { status = 500, headers = {} } = error as Failure
            res.writeHead(status, headers).end()
          }
        })
    }
    case 'express': {
      const { default: express } = await import('express')
      const { getSession, sessionMiddleware } = await import('../../src/adapters/express.ts')
      return (
        express()
          // It logs no errors then, and shows none.
          .set('env', 'test')
          .use(sessionMiddleware(sessions))
          .use(async (req, res) => send(res, await act(getSession(req, sessions), urlOf(req))))
      )
    }
    case 'fetch': {
      const { sessionMiddleware } = await import('../../src/adapters/fetch.ts')
      const handle = sessionMiddleware(sessions)(async ({ url }, { session }) =>
        responseOf(await act(session, new URL(url))),
      )
      // The runtime's part: a rejection is answered.
      return listenerOf((request) => handle(request).catch(answerTo))
    }
    case 'hono': {
      const { Hono } = await import('hono')
      const { sessionMiddleware } = await import('../../src/adapters/hono.ts')
      const app = new Hono()
        .use(sessionMiddleware(sessions))
        .all('*', async (c) => responseOf(await act(c.var.session, new URL(c.req.url))))
      app.onError((error) => ('getResponse' in error ? error.getResponse() : answerTo(error as Failure)))
      return listenerOf(app.fetch)
    }
  }
}

interface Failure {
  status?: number
  headers?: Record<string, string>
}

function answerTo({ status = 500, headers = {} }: Failure): Response {
  return new Response(null, { status, headers })
}

async function listenerOf(fetch: (request: Request) => unknown): Promise<RequestListener> {
  // By a name that the compiler does not follow: the package has types of its own for what the DOM has.
  const { getRequestListener } = (await import('@hono/node-server' as string)) as {
    getRequestListener(fetch: (request: Request) => unknown): RequestListener
  }
  return getRequestListener(fetch)
}

function urlOf(req: IncomingMessage): URL {
  return new URL(req.url!, 'http://localhost')
}

async function send(res: ServerResponse, body: string | AsyncIterable<string>): Promise<void> {
  if (typeof body === 'string') return void res.end(body)
  for await (const piece of body) res.write(piece)
  res.end()
}

function responseOf(body: string | AsyncIterable<string>): Response {
  return new Response(
    typeof body === 'string' ? body : (Readable.toWeb(Readable.from(body)) as ReadableStream),
  )
}
