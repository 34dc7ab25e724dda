/** The witness is put to the proof: what is broken on purpose, it must see. */
import { setTimeout as pass } from 'node:timers/promises'

import { expect, it, onTestFinished } from 'vitest'

import { Engine } from './engine.ts'
import type { Violation } from './ledger.ts'
import type { Mutant } from './mutants.ts'
import { Run } from './run.ts'

async function start(mutant: Mutant): Promise<{ engine: Engine; run: Run }> {
  const engine = await Engine.start()
  onTestFinished(() => engine.stop())
  const app = { client: 'url', port: engine.port, mutant } as const
  return { engine, run: await Run.start([app, app]) }
}

it.each<[Mutant, Violation]>([
  ['writes are lost', 'lost'],
  ['updates are made twice', 'made twice'],
  ['sign-outs are lost', 'undone'],
  ['visitors are mixed up', 'wrong user'],
  ['errors clear the cookie', 'overwritten'],
])('%s: it sees what is %s', async (mutant, violation) => {
  const { engine, run } = await start(mutant)
  if (violation === 'overwritten') await engine.tell('ACL SETUSER default -hmget')
  await run.ledger.seen(violation)
  const figures = await run.finish({ isQuiet: true })
  expect(figures[violation]).toBeGreaterThan(0)
})

it('nothing has a deadline: it sees what is late', async () => {
  const { engine, run } = await start('nothing has a deadline')
  await run.acknowledged(1)
  await run.harm(() => engine.signal('SIGSTOP'))
  await pass(3000)
  await run.heal(() => engine.signal('SIGCONT'))
  await run.acknowledged(1)
  expect((await run.finish({ isQuiet: true })).late).toBeGreaterThan(0)
})

it('a rejection is nobody’s: it sees what crashes, and what is not answered', async () => {
  const { run } = await start('a rejection is nobody’s')
  await Promise.race(run.apps.map(({ ended }) => ended))
  await run.ledger.seen('no answer')
  const { crashed } = await run.finish({ isQuiet: true })
  expect(crashed).toBeGreaterThan(0)
})
