import { inspect } from 'node:util'

import * as v from 'valibot'
import { expect, test } from 'vitest'

import { Context, SessionData } from '../../src/index.ts'
import { arrive, serve } from '../support/core.ts'

const SECRET = 'a-signing-secret-of-more-than-32-bytes'
const DATA = 's3cret-data'

/** S36 (OWASP ASVS 5.0, 16.2.5): a session, or anything near it, that is logged by mistake. */
test('printing any object of a request shows no token, secret or data', async () => {
  const { sessions, memory } = serve({ secrets: SECRET })
  const cookie = await arrive(sessions, { secret: DATA }, 'alice')
  const session = await sessions.open(cookie)
  session.data.more = [DATA]
  const view = session.typed(v.object({ secret: v.string() }))
  const context = new Context({ sessions, session })
  const commit = await sessions.commit(session)
  const printed = inspect(
    {
      ...{ session, sessions, context, memory, record: await memory.get(session.id), signal: context.signal },
      ...{ decision: commit.decision, data: session.data, view, callback: context.callback(() => {}) },
    },
    { depth: Infinity },
  )
  expect(printed).toContain(session.id)
  for (const secret of [SECRET, DATA, cookie.split('=')[1]!.slice(0, 43), cookie.slice(-22)])
    expect(printed).not.toContain(secret)
})

test('an error about a value, a record or a schema does not quote it, printed or as JSON', async () => {
  const { sessions } = serve({ maxSessionBytes: 100 })
  const session = await sessions.open(await arrive(sessions, { secret: DATA }))
  const view = session.typed(v.object({ secret: v.pipe(v.string(), v.email()), n: v.number() }))
  for (const act of [
    () => session.set('secret', { [DATA.length]: DATA, at: new Date() }),
    () => view.secret,
    () => (view.n = DATA as never),
    () => session.set('big', DATA.repeat(20)) && session.save(),
    () => new SessionData({ data: `{"secret":"${DATA}` }).data,
    () => SessionData.fromJSON({ id: 'x', data: [DATA] }),
    () => session.signIn({ DATA } as never),
    () => session.setExpiry(DATA as never),
  ]) {
    const error: unknown = await (async () => act())().then(
      () => expect.unreachable(),
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_SESSION_/) })
    expect(inspect(error, { depth: Infinity }) + JSON.stringify(error)).not.toContain(DATA)
  }
})
