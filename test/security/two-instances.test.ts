import { expect, test } from 'vitest'

import { createSessions } from '../../src/index.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'

/** S39: two managers in one process share nothing. */
test("two managers do not know each other's sessions", async () => {
  const [one, two] = [serve(), serve()]
  const cookie = await arrive(one.sessions, { n: 1 })
  expect(await dataBehind(two.sessions, cookie)).toBe(null)
  await visit(two.sessions, cookie, (session) => session.destroy())
  expect(await dataBehind(one.sessions, cookie)).toEqual({ n: 1 })
})

test('two managers of default options keep their sessions apart', async () => {
  const [one, two] = [createSessions(), createSessions()]
  const { cookie } = await visit(one, null, (session) => session.set('n', 1))
  expect(await dataBehind(one, cookie)).toEqual({ n: 1 })
  expect(await dataBehind(two, cookie)).toBe(null)
})

test('a session is not committed by another than its own manager, whose cookie it would get', async () => {
  const [one, two] = [serve(), serve()]
  const session = await one.sessions.open(null)
  session.set('n', 1)
  await expect(two.sessions.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_ARGUMENT' })
  expect(two.memory.size).toBe(0)
})

test('a session that two stores hold under one id is each its own', async () => {
  const [one, two] = [serve(), serve()]
  const cookie = await arrive(one.sessions)
  const { id } = await one.sessions.open(cookie)
  await two.memory.set(id, (await one.memory.get(id))!)

  // One that hangs holds up no commit of the other.
  one.store.hang('replace')
  const hanging = visit(one.sessions, cookie, ({ data }) => (data.n = 1))
  await visit(two.sessions, cookie, ({ data }) => (data.n = 2))
  one.store.heal()
  await hanging
  expect([await dataBehind(one.sessions, cookie), await dataBehind(two.sessions, cookie)]).toEqual([
    { n: 1 },
    { n: 2 },
  ])

  // Nor does a touch of one count for the other, or the end of one end the other.
  for (const { clock } of [one, two]) await clock.advance(60_000)
  for (const { sessions } of [one, two])
    expect((await visit(sessions, cookie)).decision.wrote).toBe('touched')
  await visit(one.sessions, cookie, (session) => session.destroy())
  expect(await dataBehind(two.sessions, cookie)).toEqual({ n: 2 })
})
