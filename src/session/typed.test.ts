import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { arrive, dataBehind, serve, visit } from '../../test/support/core.ts'
import { Session } from './session.ts'
import type { StandardSchema } from './typed.ts'

const refusal = (path: string): unknown => expect.objectContaining({ code: 'ERR_SESSION_SCHEMA', path })

/** The same shape in two libraries: what one does, the other must do. */
const schemas = {
  zod: z.object({
    visits: z.number().default(0),
    name: z.string().min(2).optional(),
    cart: z.array(z.string()).default(() => []),
    prefs: z.object({ lang: z.string(), theme: z.string().default('light') }).optional(),
  }),
  valibot: v.object({
    visits: v.optional(v.number(), 0),
    name: v.optional(v.pipe(v.string(), v.minLength(2))),
    cart: v.optional(v.array(v.string()), () => []),
    prefs: v.optional(v.object({ lang: v.string(), theme: v.optional(v.string(), 'light') })),
  }),
}

const libraries = Object.entries(schemas) as [string, typeof schemas.zod][]

describe.each(libraries)('a view through a schema of %s', (_, schema) => {
  test('fills in defaults, and stores none of them for having been read', async () => {
    const session = new Session()
    const view = session.typed(schema)
    expect([view.visits, view.name, view.cart]).toEqual([0, undefined, []])
    expect([Object.keys(view).sort(), 'visits' in view]).toEqual([['cart', 'visits'], true])
    expect([session.isModified, session.size]).toEqual([false, 0])
  })

  test('stores what is assigned, deep changes included', async () => {
    const { sessions } = serve()
    const { cookie } = await visit(sessions, null, (session) => {
      const view = session.typed(schema)
      view.visits++
      view.prefs = { lang: 'de', theme: 'dark' }
      view.prefs.lang = 'fr'
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ visits: 1, prefs: { lang: 'fr', theme: 'dark' } })
  })

  test('stores a default that is written into, wherever it stands', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions, { prefs: { lang: 'de' } })
    await visit(sessions, cookie, (session) => {
      const view = session.typed(schema)
      view.cart.push('tea')
      view.cart.push('milk')
      view.prefs!.theme += 'er'
      expect(view.cart).toEqual(['tea', 'milk'])
      expect(session.get('cart')).toBe(view.cart)
    })
    expect(await dataBehind(sessions, cookie)).toEqual({
      prefs: { lang: 'de', theme: 'lighter' },
      cart: ['tea', 'milk'],
    })
  })

  test('refuses a bad assignment with the issues, and saves the good ones', async () => {
    const { sessions } = serve()
    const { cookie } = await visit(sessions, null, (session) => {
      const view = session.typed(schema)
      view.visits = 5
      expect(() => (view.visits = 'many' as never)).toThrow(refusal('visits'))
      expect(() => (view.prefs = { lang: 1 } as never)).toThrow(
        expect.objectContaining({ issues: [expect.objectContaining({ message: expect.any(String) })] }),
      )
      expect(view.visits).toBe(5)
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ visits: 5 })
  })

  test('says no in words that quote no value, nor shows one when the error is printed', () => {
    const view = new Session().typed(schema)
    const refused = catching(() => (view.visits = 's3cret' as never))
    expect(refused.message).not.toContain('s3cret')
    expect(JSON.stringify(refused)).not.toContain('s3cret')
    expect(Object.keys(refused)).not.toContain('issues')
  })

  test('does not mind what is wrong with other keys', () => {
    const session = new Session<Record<string, unknown>>()
    session.set('name', 'x').set('visits', 1)
    const view = session.typed(schema)
    view.visits = 2
    expect(view.visits).toBe(2)
    expect(view.cart).toBe(undefined)
    expect(() => view.name).toThrow(refusal('name'))
    view.name = 'Ada'
    expect([view.name, view.cart]).toEqual(['Ada', []])
  })

  test('removes what may be missing, and nothing else', () => {
    const session = new Session<Record<string, unknown>>()
    const view = session.typed(schema)
    view.name = 'Ada'
    expect(delete view.name).toBe(true)
    expect([view.name, session.has('name'), delete view.name]).toEqual([undefined, false, true])
  })

  test('counts as reading where it gives a flash value, and not where it lists keys', async () => {
    const { sessions } = serve()
    const { cookie } = await visit(sessions, null, (session) => session.flash('name', 'Ada'))
    const listed = await visit(sessions, cookie, (session) => Object.keys(session.typed(schema)))
    expect(listed.outcome).toBe('unchanged')
    await visit(sessions, cookie, (session) => expect(session.typed(schema).name).toBe('Ada'))
    expect(await dataBehind(sessions, cookie)).toEqual({})
  })
})

describe('a view through any schema', () => {
  test('gives what the schema makes of a value, and keeps what was assigned', () => {
    const session = new Session<Record<string, unknown>>()
    const view = session.typed(z.object({ at: z.coerce.date(), log: z.object({ big: z.coerce.bigint() }) }))
    Object.assign(view, { at: '2026-01-01T00:00:00.000Z', log: { big: '7' } })
    expect(view.at).toEqual(new Date('2026-01-01'))
    expect(view.log).toEqual({ big: 7n })
    expect(session.get('at')).toBe('2026-01-01T00:00:00.000Z')
    expect(session.get('log')).toEqual({ big: '7' })
  })

  test('shows no key that the schema does not know', () => {
    const session = new Session<Record<string, unknown>>()
    session.set('secret', 1)
    const view = session.typed(z.object({})) as Record<string, unknown>
    expect([view.secret, 'secret' in view, Object.keys(view)]).toEqual([undefined, false, []])
  })

  test('refuses to remove what the schema requires', () => {
    const session = new Session<Record<string, unknown>>()
    const view = session.typed(z.object({ id: z.string() })) as { id?: string }
    view.id = 'x'
    expect(() => delete view.id).toThrow(refusal('id'))
    expect(session.get('id')).toBe('x')
  })

  test('is refused an assignment by an issue with the whole, too', () => {
    const ordered = z
      .object({ from: z.number().default(0), to: z.number().default(0) })
      .refine(({ from, to }) => from <= to)
    const view = new Session().typed(ordered)
    view.to = 5
    expect(() => (view.from = 6)).toThrow(refusal('from'))
    view.from = 4
  })

  test('has no symbols', () => {
    const view = new Session().typed(z.object({})) as Record<symbol, unknown>
    const symbol = Symbol('s')
    expect([view[symbol], symbol in view]).toEqual([undefined, false])
    expect(() => (view[symbol] = 1)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_ARGUMENT' }))
  })

  test('refuses a schema that answers later, whose failure then bothers nobody', async () => {
    const later: StandardSchema = {
      '~standard': { version: 1, validate: () => Promise.reject(new Error('unheard')) },
    }
    const view = new Session().typed(later) as Record<string, unknown>
    const refused = expect.objectContaining({ code: 'ERR_SESSION_SCHEMA' })
    expect(() => view.a).toThrow(refused)
    expect(() => (view.a = 1)).toThrow(refused)
    // An unhandled rejection would end the test run.
    await new Promise(setImmediate)
  })

  test('writes nothing to a session that was destroyed', async () => {
    const session = new Session()
    const view = session.typed(schemas.zod)
    await session.destroy()
    expect(() => (view.visits = 1)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_DESTROYED' }))
    expect(view.visits).toBe(0)
  })
})

function catching(act: () => unknown): Error {
  try {
    act()
  } catch (error) {
    return error as Error
  }
  throw new Error('Nothing was thrown.')
}
