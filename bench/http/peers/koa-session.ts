import koaSession from 'koa-session'

import type { Pair } from '../frameworks.ts'
import { onKoa } from '../frameworks.ts'
import type { KeyValue, Place } from '../stores.ts'
import { keyValue } from '../stores.ts'
import type { AppSession } from '../work.ts'
import { onObject, SECRET, TTL } from '../work.ts'

/** Its `store` option goes through Zod at every call; `ContextStore` does not. */
export async function koa(place: Place, data: AppSession): Promise<Pair> {
  const texts = await keyValue(place)
  class ContextStore {
    // Made for every request: the methods come from the prototype.
    readonly texts: KeyValue = texts
    async get(key: string): Promise<unknown> {
      return JSON.parse((await this.texts.get(key)) ?? 'null')
    }
    async set(key: string, session: { toJSON(): object }): Promise<void> {
      await this.texts.set(key, JSON.stringify(session))
    }
    async destroy(key: string): Promise<void> {
      await this.texts.delete(key)
    }
  }
  return onKoa(
    (app) => {
      app.keys = [SECRET]
      return koaSession({ maxAge: TTL * 1000, ContextStore }, app as never) as never
    },
    (ctx, work) => onObject((ctx as unknown as { session: AppSession }).session, work, data),
  )
}
