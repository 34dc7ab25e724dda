import { expect, test } from 'vitest'

import { arrive, dataBehind, serve, visit } from '../support/core.ts'

/** S12 (6265bis 8.6): which of two cookies of the name comes first is for whoever planted the second to say. */
test('a request with two live sessions writes, ends and rotates neither', async () => {
  const { sessions } = serve()
  const victims = await arrive(sessions, { n: 1 }, 'victim')
  const attackers = await arrive(sessions, { n: 2 })
  for (const header of [`${victims}; ${attackers}`, `${attackers}; ${victims}`]) {
    const { session, cookie } = await visit(sessions, header, ({ data }) => (data.card = '4111'))
    expect([cookie === victims, cookie === attackers, session.userId]).toEqual([false, false, null])
    await visit(sessions, header, (opened) => opened.destroy())
    await visit(sessions, header, (opened) => opened.rotate())
  }
  expect(await dataBehind(sessions, victims)).toEqual({ n: 1 })
  expect(await dataBehind(sessions, attackers)).toEqual({ n: 2 })
})

test('a session that has just ended does not hide behind, or before, a live one', async () => {
  const { sessions } = serve()
  const victims = await arrive(sessions, { n: 1 })
  const ended = await arrive(sessions, { n: 2 })
  await visit(sessions, ended, (session) => session.destroy())
  for (const header of [`${victims}; ${ended}`, `${ended}; ${victims}`])
    expect(await dataBehind(sessions, header)).toEqual({ n: 1 })
})

test('nor does it make way for a cookie that leads nowhere: the late request it came with sets none', async () => {
  const { sessions, memory } = serve()
  const ended = await arrive(sessions)
  await visit(sessions, ended, (session) => session.destroy())
  const unknown = `__Host-session=${'A'.repeat(43)}`
  for (const header of [`${ended}; ${unknown}`, `${unknown}; ${ended}`]) {
    const { decision } = await visit(sessions, header, ({ data }) => (data.n = 1))
    expect(decision).toMatchObject({ lookup: 'ended', outcome: 'gone', cookie: 'left' })
  }
  expect(memory.size).toBe(0)
})

test('with secrets, only cookies that were signed here count, and only they are looked up', async () => {
  const { sessions, other, asked } = serve({ secrets: 'v'.repeat(32) })
  const victims = await arrive(sessions, { n: 1 })
  const forged = await arrive(other({ secrets: 'f'.repeat(32) }), { n: 2 })
  asked()
  for (const header of [`${victims}; ${forged}`, `${forged}; __Host-session=junk; ${victims}`])
    expect(await dataBehind(sessions, header)).toEqual({ n: 1 })
  expect(asked()).toEqual(['load', 'load'])
})

test('one cookie sent twice, as under two paths, is one session', async () => {
  const { sessions, asked } = serve()
  const cookie = await arrive(sessions, { n: 1 })
  asked()
  expect(await dataBehind(sessions, `${cookie}; ${cookie}`)).toEqual({ n: 1 })
  expect(asked()).toEqual(['load'])
})
