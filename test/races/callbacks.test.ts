import { setImmediate as nextTurn } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { Context } from '../../src/context.ts'
import type { SessionError } from '../../src/errors.ts'
import type { Session } from '../../src/session/session.ts'
import { stateOf } from '../../src/session/session.ts'
import { seeded } from '../../src/testing/_store-model.ts'
import type { Anything } from '../support/core.ts'
import { arrive, serve, visit, withTime } from '../support/core.ts'

const ROUNDS = 400

/** What a page or a callback does to its session. */
const DEEDS: Record<string, (session: Session<Anything>, i: number) => unknown> = {
  read: (session) => session.get('count'),
  set: (session, i) => session.set(`own${i}`, i),
  update: (session) => session.update('count', (count = 0) => count + 1),
  'set and save': async (session, i) => {
    session.set(`own${i}`, i)
    await session.save()
    session.update('count', (count = 0) => count + 1)
  },
  throw: (session, i) => {
    session.set(`own${i}`, i)
    throw new RangeError('on purpose')
  },
}

/**
 * Pages and callbacks of two server processes on one session, every store call held up for a while at random: what was acknowledged is there
 * in the end, and nothing else; and of a session that somebody signed out of nothing is there, whoever writes late.
 */
test.each([
  ['nobody signs out', false],
  ['somebody signs out', true],
])(
  `in ${ROUNDS} orders of pages and callbacks mixed, while %s, no promise is broken`,
  async (_, hasSignOut) => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const random = seeded(seed)
      const { sessions, other, store, clock } = serve()
      const processes = [sessions, other()]
      const cookie = await arrive(sessions, { count: 0 })
      const sockets = await Promise.all(
        processes.map(
          async (process) =>
            new Context<Anything>({ sessions: process, session: await process.open(cookie) }),
        ),
      )
      for (const socket of sockets) expect(socket.signal.aborted).toBe(false)
      store.before = async () => {
        for (let turns = random(4); turns > 0; turns--) await nextTurn()
      }
      const names = Object.keys(DEEDS)
      const keys = new Set<string>()
      let count = 0
      const deed = async (i: number): Promise<void> => {
        const name = names[random(names.length)]!
        const act = DEEDS[name]!
        const process = random(2)
        for (let turns = random(12); turns > 0; turns--) await nextTurn()
        try {
          if (random(2) === 0) {
            const commit = await visit(processes[process]!, cookie, (session) => act(session, i))
            if (commit.outcome === 'gone' || commit.session.isEnded || commit.session.isNew) return
          } else {
            let isEnded = false
            await sockets[process]!.callback(async (context) => {
              await act(context.session, i)
              isEnded = context.session.isEnded
            })()
            if (isEnded) return
          }
        } catch (error) {
          expect((error as Error).message).toBe('on purpose')
          return
        }
        if (name === 'set' || name === 'set and save') keys.add(`own${i}`)
        if (name === 'update' || name === 'set and save') count++
      }
      const works = Array.from({ length: 10 }, (_, i) => deed(i))
      if (hasSignOut)
        works.push(
          (async () => {
            for (let turns = random(15); turns > 0; turns--) await nextTurn()
            if (random(2) === 0) await visit(processes[random(2)]!, cookie, (session) => session.destroy())
            else await sockets[random(2)]!.callback(({ session }) => session.destroy())()
          })(),
        )
      await withTime(clock, Promise.all(works))
      store.before = undefined
      const session = await sessions.open(cookie)
      const said = `seed ${seed}`
      if (hasSignOut) {
        expect(stateOf(session).standing.kind, said).toBe('ended')
        await clock.advance(0)
        for (let i = 0; i < 10; i++) await nextTurn()
        for (const { signal } of sockets)
          expect((signal.reason as SessionError | undefined)?.reason, said).toBe('destroyed')
      } else {
        const { count: total, ...own } = { ...session.data }
        expect(total, said).toBe(count)
        expect(new Set(Object.keys(own)), said).toEqual(keys)
      }
    }
  },
)
