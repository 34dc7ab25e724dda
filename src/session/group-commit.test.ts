import { describe, expect, test } from 'vitest'

import type { Anything, Server } from '../../test/support/core.ts'
import { arrive, dataBehind, holdUp, serve, visit, withTime } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'
import type { Sessions } from '../sessions.ts'
import { SessionData } from '../stores/session-data.ts'
import type { StoreOperation } from '../testing/faulty-store.ts'
import type { Session } from './session.ts'

/** A process, and what a request does there. */
type Request = [Sessions<Anything>, (data: Anything, session: Session<Anything>) => unknown]

/** Makes requests that are all under way before the first one commits. @returns their outcomes */
async function atOnce(requests: readonly Request[], cookie: string): Promise<string[]> {
  const opened = await Promise.all(requests.map(([sessions]) => sessions.open(cookie)))
  opened.forEach((session, i) => requests[i]![1](session.data, session))
  const commits = await Promise.all(opened.map((session, i) => requests[i]![0].commit(session)))
  return commits.map(({ outcome }) => outcome)
}

/** Does something when the store is next asked for `operation`, before it is. */
function atNext({ store }: Server, operation: StoreOperation, act: () => unknown): void {
  store.before = async (asked) => {
    if (asked !== operation) return
    store.before = undefined
    await act()
  }
}

const increment: Request[1] = (_, session) => session.update('n', (n = 0) => n + 1)

describe('parallel requests of one session', () => {
  test('that change different keys all survive', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const put = (i: number) => (data: Anything) => (data[`k${i}`] = i)
    const requests = Array.from({ length: 50 }, (_, i): Request => [sessions, put(i)])
    expect(new Set(await atOnce(requests, cookie))).toEqual(new Set(['saved']))
    expect(Object.keys((await dataBehind(sessions, cookie))!)).toHaveLength(51)
  })

  test('that update one key sum exactly, and cost a handful of writes', async () => {
    const { sessions, asked } = serve()
    const cookie = await arrive(sessions)
    asked()
    await atOnce(
      Array.from({ length: 100 }, (): Request => [sessions, increment]),
      cookie,
    )
    const operations = asked()
    expect(operations.filter((operation) => operation === 'load')).toHaveLength(100)
    expect(operations.filter((operation) => operation !== 'load')).toEqual(['replace', 'replace'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 100 })
  })

  test('sum exactly over several processes too', async () => {
    const { clock, sessions, other } = serve()
    const cookie = await arrive(sessions)
    const processes = [sessions, other(), other()]
    const requests = Array.from({ length: 60 }, (_, i): Request => [processes[i % 3]!, increment])
    expect(new Set(await withTime(clock, atOnce(requests, cookie)))).toEqual(new Set(['saved']))
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 60 })
  })

  test('are told saved only once the write that holds their change is confirmed', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const hold = holdUp(store, 'replace')
    const answered: number[] = []
    const requests = [1, 2, 3].map(async (i) => {
      await visit(sessions, cookie, ({ data }) => (data[`k${i}`] = i))
      answered.push(i)
    })
    await hold.reached
    await new Promise(setImmediate)
    expect(answered).toEqual([])
    hold.letGo()
    await Promise.all(requests)
    expect(new Set(answered)).toEqual(new Set([1, 2, 3]))
  })

  test('fail each for itself: one that cannot be carried holds up no other', async () => {
    const { sessions } = serve({ maxSessionBytes: 1000 })
    const cookie = await arrive(sessions, { n: 1 })
    const opened = await Promise.all(Array.from({ length: 4 }, () => sessions.open(cookie)))
    const [first, large, picky, last] = opened
    first!.data.first = 1
    large!.data.large = 'x'.repeat(1000)
    picky!.update('n', (n) => {
      if (n === 2) throw new RangeError('not two')
      return n + 1
    })
    last!.update('n', (n) => n + 1)
    const raised = await sessions.open(cookie)
    raised.update('n', (n) => n + 1)
    const results = await Promise.allSettled(
      [first, raised, large, picky, last].map((session) => session!.save()),
    )
    expect(results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason))).toEqual([
      'saved',
      'saved',
      expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE' }),
      expect.any(RangeError),
      'saved',
    ])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 3, first: 1 })
  })

  test('fail each for itself also where they are first in line, or alone in it', async () => {
    const { sessions, store, asked } = serve({ maxSessionBytes: 1000 })
    const cookie = await arrive(sessions)
    const requests = await Promise.all([1, 2, 3, 4].map(() => sessions.open(cookie)))
    const [large, first, second, last] = requests
    for (const session of [large, last]) session!.data.large = 'x'.repeat(1000)
    first!.data.first = 1
    second!.data.second = 2
    asked()
    const hold = holdUp(store, 'replace')
    const saves = [large!.save(), first!.save(), second!.save()].map((save) => save.catch(() => 'refused'))
    await hold.reached
    saves.push(last!.save().catch(() => 'refused'))
    hold.letGo()
    expect(await Promise.all(saves)).toEqual(['refused', 'saved', 'saved', 'refused'])
    expect(asked()).toEqual(['replace'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, first: 1, second: 2 })
  })

  test('go before or after one that destroys it, in their turn', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const [before, during, destroyer, after] = await Promise.all(
      [1, 2, 3, 4].map(() => sessions.open(cookie)),
    )
    for (const session of [before, during, after]) session!.data.a = 1
    const hold = holdUp(store, 'replace')
    const outcomes = [before!.save(), during!.save(), destroyer!.destroy(), after!.save()]
    hold.letGo()
    expect(await Promise.all(outcomes)).toEqual(['saved', 'saved', undefined, 'gone'])
  })
})

describe("another process's write in between", () => {
  test('is kept, and seen from then on', async () => {
    const server = serve()
    const { sessions, other } = server
    const cookie = await arrive(sessions)
    const events = published('holdfast:event')
    await visit(sessions, cookie, async (session) => {
      session.data.mine = 1
      atNext(server, 'replace', () => visit(other(), cookie, ({ data }) => (data.theirs = 1)))
      expect(await session.save()).toBe('saved')
      expect({ ...session.data }).toEqual({ n: 0, theirs: 1, mine: 1 })
      expect(events).toEqual([{ kind: 'conflict', id: session.id }])
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, theirs: 1, mine: 1 })
  })

  test('is kept also by what the handler changes after it, in objects it holds', async () => {
    const server = serve()
    const { sessions, other } = server
    const cookie = await arrive(sessions, { mine: [], theirs: [] })
    await visit(sessions, cookie, async (session) => {
      const { mine, theirs } = session.data
      mine.push(1)
      atNext(server, 'replace', () => visit(other(), cookie, ({ data }) => data.theirs.push('x')))
      await session.save()
      mine.push(2)
      expect(theirs).toEqual([])
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ mine: [1, 2], theirs: ['x'] })
  })

  test('that ends the session drops the change: gone', async () => {
    const server = serve()
    const { sessions, other } = server
    const cookie = await arrive(sessions)
    const { outcome, decision } = await visit(sessions, cookie, ({ data }) => {
      data.mine = 1
      atNext(server, 'replace', () => visit(other(), cookie, (session) => session.destroy()))
    })
    expect([outcome, decision.wrote, decision.cookie]).toEqual(['gone', 'nothing', 'left'])
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test.each(['{"n":', ''])(
    'that nobody here can read (%j) counts as its end, and is told of once',
    async (json) => {
      const server = serve()
      const { sessions, memory } = server
      const cookie = await arrive(sessions)
      const { id } = await sessions.open(cookie)
      const events = published('holdfast:event')
      const { outcome } = await visit(sessions, cookie, ({ data }) => {
        data.mine = 1
        atNext(server, 'replace', async () => {
          const record = (await memory.get(id))!
          await memory.set(id, new SessionData({ ...record, version: 'newer', data: json }))
        })
      })
      expect(outcome).toBe('gone')
      expect(events.filter(({ kind }) => kind === 'rejected')).toEqual([
        { kind: 'rejected', reason: 'unreadable', id },
      ])
    },
  )

  test('while this one backed off is read before it tries again, so that it does not lose for nothing', async () => {
    const { clock, store, memory, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    const othersWrite = async (): Promise<void> => {
      const present = (await memory.get(session.id))!
      const theirs = { ...present, data: present.data, version: `after ${present.version}` }
      await memory.replace(session.id, new SessionData(theirs), present.version, 1000)
    }
    let tries = 0
    store.before = async (operation) => {
      if (operation === 'replace' && ++tries <= 2) await othersWrite()
    }
    const sleep = clock.sleep.bind(clock)
    clock.sleep = async (ms, signal) => {
      // The watch over deadlines sleeps longer.
      if (ms < 10) await othersWrite()
      return sleep(ms, signal)
    }
    session.update('n', (n) => n + 1)
    expect(await withTime(clock, session.save())).toBe('saved')
    expect(tries).toBe(3)
  })

  test('again and again until the deadline is a conflict, with nothing written and the changes kept', async () => {
    const { clock, store, memory, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    let writes = 0
    store.before = async (operation) => {
      if (operation !== 'replace') return
      const present = (await memory.get(session.id))!
      const theirs = { ...present, data: { writes: ++writes }, version: `theirs ${writes}` }
      await memory.replace(session.id, new SessionData(theirs), present.version, 1000)
    }
    session.update('n', (n = 0) => n + 1)
    await expect(withTime(clock, session.save())).rejects.toMatchObject({
      code: 'ERR_SESSION_CONFLICT',
      status: 503,
    })
    expect(writes).toBeGreaterThan(10)
    store.before = undefined
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ writes, n: 1 })
  })
})

describe('activity that others noted since the session was read', () => {
  test('keeps a handler that outlasts the idle time-out from being told it is gone', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    const slow = await sessions.open(cookie)
    for (let minutes = 0; minutes < 120; minutes += 30) {
      await clock.advance(30 * 60_000)
      await visit(sessions, cookie)
    }
    slow.data.late = 1
    expect(await slow.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, late: 1 })
  })

  test('is not there when nobody was active: then it is gone', async () => {
    const { clock, sessions } = serve()
    const slow = await sessions.open(await arrive(sessions))
    await clock.advance(3_660_000)
    slow.data.late = 1
    expect(await slow.save()).toBe('gone')
  })
})

describe('a reply that never came', () => {
  const update = (session: Session<Anything>): unknown => session.update('n', (n = 0) => n + 1)

  test('is no failure where the change is found to be there', async () => {
    const server = serve()
    const { store, sessions, asked } = server
    const cookie = await arrive(sessions)
    store.loseReply('replace')
    asked()
    const { outcome } = await visit(sessions, cookie, update)
    expect([outcome, asked()]).toEqual(['saved', ['load', 'replace', 'load']])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })

  test('nor does it hide from those who wrote together what the others wrote', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const [first, second, third] = await Promise.all([1, 2, 3].map(() => sessions.open(cookie)))
    first!.data.first = 1
    second!.data.second = 2
    third!.data.third = 3
    const hold = holdUp(store, 'replace')
    const saves = [first!.save(), second!.save(), third!.save()]
    store.loseReply('replace')
    hold.letGo()
    await Promise.all(saves)
    store.heal()
    second!.data.again = 1
    expect(await second!.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, first: 1, second: 2, third: 3, again: 1 })
  })

  test('leads to another try where the change is found not to be there', async () => {
    const server = serve()
    const { store, sessions, asked } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    update(session)
    store.fail('replace')
    atNext(server, 'load', () => store.heal())
    asked()
    expect(await session.save()).toBe('saved')
    expect(asked()).toEqual(['replace', 'load', 'replace'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })

  test('and a write of others since: what may be made twice is made again', async () => {
    const server = serve()
    const { store, sessions, other } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.data.mine = 1
    store.loseReply('replace')
    atNext(server, 'load', async () => {
      store.heal()
      await visit(other(), cookie, ({ data }) => (data.theirs = 1))
    })
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, mine: 1, theirs: 1 })
  })

  test('and a write of others since: of an update nothing is claimed, nor is it ever made twice', async () => {
    const server = serve()
    const { store, sessions, other } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    update(session)
    store.loseReply('replace')
    atNext(server, 'load', async () => {
      store.heal()
      await visit(other(), cookie, ({ data }) => (data.theirs = 1))
    })
    const unknown = { code: 'ERR_SESSION_OUTCOME_UNKNOWN', status: 503, cause: expect.any(Error) }
    await expect(session.save()).rejects.toMatchObject(unknown)
    await expect(session.save()).rejects.toMatchObject(unknown)
    await expect(sessions.commit(session)).rejects.toMatchObject(unknown)
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1, theirs: 1 })
    await session.reload()
    update(session)
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 2, theirs: 1 })
  })

  test('within the deadline fails, and what the store did after all is not done twice', async () => {
    const { clock, store, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    update(session)
    store.hang('replace')
    await expect(withTime(clock, session.save())).rejects.toMatchObject({ code: 'ERR_SESSION_TIMEOUT' })
    store.heal()
    await new Promise(setImmediate)
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
    // Nor where another try fails for another reason in between.
    session.data.large = 'x'.repeat(70_000)
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_TOO_LARGE' })
    delete session.data.large
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_OUTCOME_UNKNOWN' })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })

  test('and a rotation by others since, which may have carried the change on: nothing is claimed', async () => {
    const server = serve()
    const { store, sessions, other } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.data.mine = 1
    store.loseReply('replace')
    let rotated: string | null = null
    atNext(server, 'load', async () => {
      store.heal()
      rotated = (await visit(other(), cookie, (theirs) => theirs.rotate())).cookie
    })
    for (let i = 0; i < 2; i++)
      await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_OUTCOME_UNKNOWN' })
    expect(await dataBehind(sessions, rotated)).toEqual({ n: 0, mine: 1 })
    await session.reload()
    expect(await session.save()).toBe('gone')
  })

  test('and an end by others since: gone, whatever became of the change', async () => {
    const server = serve()
    const { store, sessions, other } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    update(session)
    store.loseReply('replace')
    atNext(server, 'load', async () => {
      store.heal()
      await visit(other(), cookie, (theirs) => theirs.destroy())
    })
    expect(await session.save()).toBe('gone')
  })

  test('to nobody: a rotation that others made first is plainly gone', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    await visit(sessions, cookie, (theirs) => theirs.rotate())
    update(session)
    expect(await session.save()).toBe('gone')
  })

  test('does not keep a second try from succeeding where the first came to nothing', async () => {
    const { store, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    update(session)
    store.fail('replace')
    asked()
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect(asked()).toEqual(['replace', 'load', 'replace', 'load', 'replace'])
    store.heal()
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })
})
