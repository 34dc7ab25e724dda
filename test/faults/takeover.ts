/** What the tests share in which a replica takes the place of a master that is killed: SECURITY.md F4. */
import { expect } from 'vitest'

import type { RedisDurability } from '../../src/stores/redis.ts'
import { eventually } from '../support/eventually.ts'
import type { Clients } from './app-stores.ts'
import type { Resident } from './residents.ts'
import { expectAtHome, expectServed, settleIn, signOut } from './residents.ts'
import type { Figures } from './run.ts'
import { ALL, RECOVERY, Run, UNHARMED } from './run.ts'

/** How many requests each server acknowledges at each step. */
export const CALM = ALL ? 400 : 60
export const RESIDENTS = 24
export const VISITORS = 8

/** Milliseconds: no longer than a takeover, and long enough for a busy machine. */
const TIMEOUT = 1000

/** The pairs of clients to try. */
export function pairsOf(kind: 'cluster' | 'sentinel'): readonly Clients[] {
  const ofNode = `node-redis ${kind}` as const
  const ofIo = `ioredis ${kind}` as const
  const mixed: Clients = [ofNode, ofIo]
  return ALL ? [[ofNode, ofNode], [ofIo, ofIo], mixed] : [mixed]
}

/** How it is made certain that nothing acknowledged dies with the master. */
export type Way = readonly [name: string, durability: RedisDurability | null]
export const AT_REST: Way = ['at rest', null]
export const DURABLE: Way = ['amid everything, with durability', { replicas: 1, timeout: TIMEOUT / 2000 }]

/** Has two servers be used, by visitors and by residents, without a failure. */
export async function startCalm(
  clients: Clients,
  port: number | readonly number[],
  durability: RedisDurability | null,
): Promise<{ run: Run; residents: readonly Resident[] }> {
  const run = await Run.start(
    clients.map((client) => ({
      client,
      port,
      sessions: { storeTimeout: TIMEOUT / 1000 },
      ...(durability && { durability }),
    })),
    { visitors: VISITORS },
  )
  const residents = await settleIn(run.ledger, RESIDENTS)
  await run.acknowledged(CALM)
  expect(run.ledger.answers.filter(({ status }) => status !== 200)).toEqual([])
  return { run, residents }
}

/** Expects that all goes on by itself where another master has taken over, and stops the servers. */
export async function finishRecovered(run: Run, residents: readonly Resident[]): Promise<Figures> {
  const { ledger } = run
  // How soon is for the clients to say, who find out in their own time who took over.
  await eventually(() => expectServed(ledger, residents))
  await run.acknowledged(CALM)
  await expectAtHome(ledger, residents)
  await signOut(ledger, residents)
  return run.finish()
}

/** Expects that requests were refused while there was no master, and that nothing worse came of it. */
export function expectGapOnly(figures: Figures): void {
  expect(figures).toMatchObject(UNHARMED)
  expect(figures.refused).toBeGreaterThan(0)
  expect(figures.recovery).toBeLessThan(RECOVERY)
}
