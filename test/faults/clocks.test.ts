/**
 * Two servers whose clocks are wrong by 16 minutes, one each way, or are set while they are used: SECURITY.md F9. Nobody ends early, and nobody
 * outlives the absolute timeout.
 */
import { globSync } from 'node:fs'
import { setTimeout as pass } from 'node:timers/promises'

import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import type { App, AppSettings } from './app-process.ts'
import { startApp } from './app-process.ts'
import type { ClientName } from './app-stores.ts'
import { Engine } from './engine.ts'
import { Ledger } from './ledger.ts'
import type { Figures } from './run.ts'
import { ALL, print, Run, UNHARMED } from './run.ts'

const AHEAD = 16 * 60_000
const BEHIND = -AHEAD

const table: Record<string, Figures> = {}
afterAll(() => print(table))

let engine: Engine
beforeAll(async () => {
  engine = await Engine.start()
  return () => engine.stop()
})

/** Whose clock is wrong: that of JavaScript, which a test can set, or that of the process, by libfaketime. */
type Wrong = 'Date.now' | 'libfaketime'

describe.each<[ClientName, Wrong]>(
  ALL
    ? [
        ['url', 'Date.now'],
        ['node-redis', 'Date.now'],
        ['ioredis', 'Date.now'],
        ['url', 'libfaketime'],
      ]
    : [['ioredis', 'Date.now']],
)('%s, %s', (client, wrong) => {
  it.runIf(wrong === 'Date.now')(
    'a load goes on, though a session may idle for less than the clocks differ, and they are set meanwhile',
    async () => {
      const app = {
        client,
        port: engine.port,
        sessions: { idleTimeout: 600, absoluteTimeout: 900, touchEvery: 0, storeTimeout: 5 },
      }
      const run = await Run.start([
        { ...app, shift: AHEAD },
        { ...app, shift: BEHIND },
      ])
      const count = ALL ? 1000 : 80
      await run.acknowledged(count)
      await run.harm(() => run.apps[0]!.ask({ ask: 'shift', ms: BEHIND }))
      await run.acknowledged(count)
      await run.apps[1]!.ask({ ask: 'shift', ms: AHEAD })
      await run.acknowledged(count)
      await run.heal(() => {})
      await run.acknowledged(count)
      const figures = (table[`F9 clocks are wrong, and set, ${client}`] = await run.finish())
      expect(figures).toMatchObject({ ...UNHARMED, refused: 0 })
    },
  )

  // At once: what is waited for is time.
  describe.concurrent('a session', () => {
    /** In seconds, and of real time: it is a real Redis that keeps it. */
    const IDLE = 2
    const ABSOLUTE = 4

    let apps: readonly App[]
    let ledger: Ledger
    beforeAll(async () => {
      const sessions = { idleTimeout: IDLE, absoluteTimeout: ABSOLUTE, touchEvery: 0.2, storeTimeout: 5 }
      const shifts = [AHEAD, BEHIND]
      apps = await Promise.all(
        shifts.map((shift) =>
          wrong === 'Date.now'
            ? startApp({ client, port: engine.port, shift, sessions })
            : startApp({ client, port: engine.port, sessions }, fakeTime(shift)),
        ),
      )
      ledger = new Ledger(apps.map(({ port }) => port))
      return async () => {
        ledger.close()
        for (const { code, stderr } of await Promise.all(apps.map((app) => app.stop())))
          expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      }
    })

    /** Signs somebody in on one of the servers; at some moment between `from` and `to`. */
    async function signIn(server: number): Promise<{ cookie: string; from: number; to: number }> {
      const { cookies, from, to } = await ledger.ask(server, 'POST /sign-in?user=ada', null)
      return { cookie: cookies[0]!.split(';', 1)[0]!, from, to }
    }

    const isAlive = async (server: number, cookie: string): Promise<boolean> =>
      (await ledger.ask(server, 'GET /read', cookie)).body.includes('"ada"')

    /** For how many seconds a session lives that is used all the time, here, there, or by turns: where it is used, and anywhere. */
    async function livesOf(first: number, serverOf: (n: number) => number): Promise<[number, number]> {
      const { cookie, from, to } = await signIn(first)
      const since = (moment: number): number => (performance.now() - moment) / 1000
      for (let n = 0; await isAlive(serverOf(n), cookie); n++) await pass(100)
      const here = since(from)
      // Servers know Redis's time but for the moment that it took to ask.
      for (const server of [0, 1]) while (await isAlive(server, cookie)) await pass(10)
      return [here, since(to)]
    }

    function expectFullLives(lives: readonly [number, number][]): void {
      for (const [here, anywhere] of lives) {
        // A server's first question comes with connecting, and leaves its time wrong by half of what that took.
        expect(here).toBeGreaterThan(ABSOLUTE - 0.5)
        expect(anywhere).toBeLessThan(ABSOLUTE + 1)
      }
    }

    it('lives as long as the absolute timeout lets it, wherever it was made and is used', async () => {
      // The first two are the first that their processes ever made.
      const lives = await Promise.all([
        livesOf(0, () => 1),
        livesOf(1, () => 0),
        livesOf(0, (n) => n % 2),
        livesOf(1, () => 1),
      ])
      expectFullLives(lives)
    })

    it('that is not used lives as long as the idle timeout lets it', async () => {
      const [early, late] = await Promise.all([signIn(0), signIn(1)])
      await pass(IDLE * 1000 - 1000)
      expect(await isAlive(1, early.cookie)).toBe(true)
      await pass(2000)
      // The other one has not been asked for since.
      for (const server of [0, 1]) expect(await isAlive(server, late.cookie)).toBe(false)
    })

    it.runIf(wrong === 'Date.now')(
      'lives on when a clock is set back, or forward, and not for ever',
      async () => {
        const lives = Promise.all([livesOf(0, () => 0), livesOf(1, () => 1)])
        await pass(1000)
        await apps[0]!.ask({ ask: 'shift', ms: BEHIND })
        await apps[1]!.ask({ ask: 'shift', ms: AHEAD })
        expectFullLives(await lives)
      },
    )
  })
})

/** Lets a process see the time of day so many milliseconds ahead; time passes as ever. */
function fakeTime(ms: number): AppSettings {
  // Not the program `faketime`, which forks: a signal would end it, and not the app.
  const [library] = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')
  const seconds = `${ms < 0 ? '-' : '+'}${Math.abs(ms) / 1000}s`
  return { env: { LD_PRELOAD: library!, FAKETIME: seconds, FAKETIME_DONT_FAKE_MONOTONIC: '1' } }
}
