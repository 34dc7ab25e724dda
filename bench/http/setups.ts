/** What is compared: every library, the framework it is measured on, and the stores it is measured with. */
import { floor } from '../floor.ts'
import type { Pair } from './frameworks.ts'
import type { Place, StoreName } from './stores.ts'
import type { AppSession } from './work.ts'

export interface Setup {
  /** Names it in options, results and tables. */
  readonly name: string
  readonly framework: 'node' | 'express' | 'fastify' | 'hono' | 'koa' | 'fetch'
  readonly stores: readonly StoreName[]
  /** Builds it. Each library is imported only where it is measured. */
  build(place: Place, data: AppSession): Promise<Pair>
}

const KEPT = ['memory', 'redis', 'ioredis', 'sqlite'] as const
const holdfast = () => import('./holdfast.ts')
const fastify = () => import('./peers/fastify.ts')

export const SETUPS: readonly Setup[] = [
  { name: 'floor', framework: 'node', stores: KEPT, build: floor },
  {
    name: 'holdfast/node',
    framework: 'node',
    stores: KEPT,
    build: async (...args) => (await holdfast()).onHoldfastNode(...args),
  },
  {
    name: 'holdfast/express',
    framework: 'express',
    stores: KEPT,
    build: async (...args) => (await holdfast()).onHoldfastExpress(...args),
  },
  {
    name: 'holdfast/hono',
    framework: 'hono',
    stores: ['memory', 'redis'],
    build: async (...args) => (await holdfast()).onHoldfastHono(...args),
  },
  {
    name: 'holdfast/fetch',
    framework: 'fetch',
    stores: ['memory', 'redis'],
    build: async (...args) => (await holdfast()).onHoldfastFetch(...args),
  },
  {
    name: 'express-session',
    framework: 'express',
    stores: KEPT,
    build: async (...args) => (await import('./peers/express-session.ts')).expressSession(...args),
  },
  {
    name: '@fastify/session',
    framework: 'fastify',
    stores: KEPT,
    build: async (...args) => (await fastify()).fastifySession(...args),
  },
  {
    name: '@mgcrea/fastify-session',
    framework: 'fastify',
    // Its Redis store is made for ioredis.
    stores: ['memory', 'ioredis'],
    build: async (...args) => (await fastify()).mgcreaSession(...args),
  },
  {
    name: 'hono-sessions',
    framework: 'hono',
    stores: ['memory', 'redis'],
    build: async (...args) => (await import('./peers/hono-sessions.ts')).honoSessions(...args),
  },
  {
    name: 'koa-session',
    framework: 'koa',
    stores: ['memory', 'redis', 'sqlite'],
    build: async (...args) => (await import('./peers/koa-session.ts')).koa(...args),
  },
  {
    name: 'react-router',
    framework: 'fetch',
    stores: ['memory', 'redis', 'cookie'],
    build: async (...args) => (await import('./peers/react-router.ts')).reactRouter(...args),
  },
  {
    name: 'cookie-session',
    framework: 'express',
    stores: ['cookie'],
    build: async (...args) => (await import('./peers/cookie-session.ts')).signedCookie(...args),
  },
  {
    name: '@fastify/secure-session',
    framework: 'fastify',
    stores: ['cookie'],
    build: async (...args) => (await fastify()).fastifySecureSession(...args),
  },
  {
    name: 'iron-session',
    framework: 'node',
    stores: ['cookie'],
    build: async (...args) => (await import('./peers/iron-session.ts')).ironSession(...args),
  },
]
