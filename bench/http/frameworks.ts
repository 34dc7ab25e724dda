/** The same application in every framework, bare or behind a session library: what is compared differs in that library alone. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'

import { getRequestListener } from '@hono/node-server'
import type { Request as ExpressRequest, RequestHandler } from 'express'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Context as HonoContext, MiddlewareHandler } from 'hono'
import type Koa from 'koa'
import type { Context as KoaContext, Middleware } from 'koa'

import type { Work } from './work.ts'
import { NOBODY, WORKS } from './work.ts'

/** Does a work with a request's session, and gives the answer's text. */
export type Act<R> = (request: R, work: Work) => string | Promise<string>

const bareAct = (): string => NOBODY

/** One application twice: without sessions, and with them. */
export interface Pair {
  readonly bare: RequestListener
  readonly measured: RequestListener
}

const TEXT = 'text/plain; charset=utf-8'

export async function onExpress(middleware: RequestHandler, act: Act<ExpressRequest>): Promise<Pair> {
  const { default: express } = await import('express')
  const app = (act: Act<ExpressRequest>, ...before: RequestHandler[]): RequestListener => {
    const app = express().disable('x-powered-by').disable('etag')
    for (const handler of before) app.use(handler)
    for (const work of WORKS)
      app.get(`/${work}`, (req, res) => void res.setHeader('Content-Type', TEXT).send(act(req, work)))
    return app as RequestListener
  }
  return { bare: app(bareAct), measured: app(act, middleware) }
}

export async function onFastify(
  register: (app: FastifyInstance) => unknown,
  act: Act<FastifyRequest>,
): Promise<Pair> {
  const { default: fastify } = await import('fastify')
  const app = async (act: Act<FastifyRequest>, register?: (app: FastifyInstance) => unknown) => {
    const app = fastify()
    await register?.(app)
    for (const work of WORKS)
      app.get(`/${work}`, (req, reply) => void reply.header('Content-Type', TEXT).send(act(req, work)))
    await app.ready()
    return (req: IncomingMessage, res: ServerResponse) => app.routing(req, res)
  }
  return { bare: await app(bareAct), measured: await app(act, register) }
}

export async function onHono(middleware: MiddlewareHandler<any>, act: Act<HonoContext>): Promise<Pair> {
  const { Hono } = await import('hono')
  const app = (act: Act<HonoContext>, ...before: MiddlewareHandler[]): RequestListener => {
    const app = new Hono()
    for (const handler of before) app.use(handler)
    for (const work of WORKS)
      app.get(`/${work}`, (c) => c.body(act(c, work) as string, 200, { 'Content-Type': TEXT }))
    return getRequestListener(app.fetch)
  }
  return { bare: app(bareAct), measured: app(act, middleware) }
}

export async function onKoa(use: (app: Koa) => Middleware, act: Act<KoaContext>): Promise<Pair> {
  const { default: Application } = await import('koa')
  const app = (act: Act<KoaContext>, use?: (app: Koa) => Middleware): RequestListener => {
    const app: Koa = new Application()
    if (use !== undefined) app.use(use(app))
    app.use((ctx) => {
      ctx.type = TEXT
      ctx.body = act(ctx, ctx.path.slice(1) as Work)
    })
    return app.callback()
  }
  return { bare: app(bareAct), measured: app(act, use) }
}

/** A handler of node:http, and the work its URL names. */
export type NodeHandler = (req: IncomingMessage, res: ServerResponse, work: Work) => void

export function onNode(handler: NodeHandler): Pair {
  const app =
    (handler: NodeHandler): RequestListener =>
    (req, res) =>
      handler(req, res, req.url!.slice(1) as Work)
  return { bare: app((_req, res) => answer(res, NOBODY)), measured: app(handler) }
}

/** Answers in node:http. */
export function answer(res: ServerResponse, text: string): void {
  res.setHeader('Content-Type', TEXT)
  res.end(text)
}

/** A handler of the Web's kind, under @hono/node-server, which serves it fastest on Node. */
export type FetchHandler = (request: Request) => Response | Promise<Response>

export function onFetch(handler: FetchHandler): Pair {
  // Looks at its URL as the measured one does: it is made only then.
  const bare: FetchHandler = (request) => respond(workOf(request).length > 0 ? NOBODY : '')
  return { bare: getRequestListener(bare), measured: getRequestListener(handler) }
}

export function respond(text: string, headers?: Record<string, string>): Response {
  return new Response(text, { headers: { 'Content-Type': TEXT, ...headers } })
}

export function workOf({ url }: Request): Work {
  return url.slice(url.lastIndexOf('/') + 1) as Work
}
