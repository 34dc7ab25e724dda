/** A shared cache in front: SECURITY.md S16, CVE-2023-30861. Nobody is shown what belongs to somebody else. */
import { expect, it, onTestFinished } from 'vitest'

import { startCachingNginx } from '../support/nginx.ts'
import { startApp } from './app-process.ts'
import type { Answer } from './ledger.ts'
import { Ledger } from './ledger.ts'
import type { Mutant } from './mutants.ts'

/** Two users and a stranger read the same page, one after the other, through nginx. */
async function readersThroughACache(mutant?: Mutant) {
  const app = await startApp({ client: 'memory', ...(mutant && { mutant }) })
  onTestFinished(() => void app.stop())
  const nginx = await startCachingNginx(app.port)
  onTestFinished(() => nginx.stop())
  const ledger = new Ledger([nginx.port])
  onTestFinished(() => ledger.close())

  const cookieOf = ({ cookies }: Answer): string => cookies[0]!.split(';', 1)[0]!
  const ada = cookieOf(await ledger.ask(0, 'POST /sign-in?user=ada', null))
  const bob = cookieOf(await ledger.ask(0, 'POST /sign-in?user=bob', null))
  const read = async (path: string, cookie: string | null) => {
    const { body, headers } = await ledger.ask(0, `GET ${path}`, cookie)
    return { body, cache: headers['x-cache'] }
  }
  return { ada, bob, read }
}

const pageOf = (user: string | null): string => JSON.stringify({ user, data: {} })

it('shows two users and a stranger their own pages', async () => {
  const { ada, bob, read } = await readersThroughACache()
  for (const [cookie, user] of [
    [ada, 'ada'],
    [bob, 'bob'],
    [null, null],
    [bob, 'bob'],
    [ada, 'ada'],
    [null, null],
  ] as const)
    expect(await read('/read', cookie)).toMatchObject({ body: pageOf(user) })
})

it('may keep a page that has nothing of a session, for all of them', async () => {
  const { ada, bob, read } = await readersThroughACache()
  expect(await read('/plain', ada)).toEqual({ body: 'for everybody', cache: 'MISS' })
  expect(await read('/plain', bob)).toEqual({ body: 'for everybody', cache: 'HIT' })
})

it('keeps no cookie for the next one', async () => {
  const { read } = await readersThroughACache()
  const ask = () => read('/set?key=a&value=1', null)
  expect((await ask()).cache).toBe('MISS')
  expect((await ask()).cache).toBe('MISS')
})

it('would show one user another’s page if it were not told', async () => {
  const { ada, bob, read } = await readersThroughACache('caches are told nothing')
  expect(await read('/read', ada)).toMatchObject({ body: pageOf('ada') })
  expect(await read('/read', bob)).toEqual({ body: pageOf('ada'), cache: 'HIT' })
})
